"""Damage to files and to trees of JSON, at random."""

import copy

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e308),
    *("", "ntk", "nngp", "auto", "array0", "../../etc/passwd", "os.system", "\x00", "\ud800"),
    *([], {}, [[]], {"array": ["array0", [0]]}, {"dict": []}, {"list": []}, {"csr": []}),
    *({"strings": [1, []]}, {"type": "Relu", "fields": {}}, {"type": "builtins.eval"}),
]


def damaged(content, rng):
    """Return bytes with some flipped, cut off, replaced, inserted, repeated or moved."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        # the header matters most
        most = min(len(data), rng.choice([16, 200, 4000, len(data)]))
        start = rng.randrange(max(most, 1))
        stop = min(len(data), start + rng.choice([1, 1, 2, 8, 100]))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[min(start, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[start:]
        elif kind == 2:
            data[start:stop] = bytes(rng.randrange(256) for _ in range(stop - start))
        elif kind == 3:
            data[start:start] = bytes(rng.randrange(256) for _ in range(stop - start))
        elif kind == 4:
            data[start:start] = data[start:stop]
        else:
            del data[start:stop]
    return bytes(data)


def places(node, path=()):
    """Yield the path of every value in a tree of JSON."""
    yield path
    items = node.items() if isinstance(node, dict) else ()
    for key, value in enumerate(node) if isinstance(node, list) else items:
        yield from places(value, (*path, key))


def at(node, path):
    for step in path:
        node = node[step]
    return node


def change_tree(document, rng, names=("x",)):
    """Replace, remove, repeat or swap values of a tree; names are texts that it may know."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        paths = [path for path in places(document) if path]
        if not paths:  # an earlier change took all
            return
        *path, last = rng.choice(paths)
        parent, kind = at(document, path), rng.randrange(8)
        value = parent[last]
        if kind == 0:
            del parent[last]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(last, copy.deepcopy(value))
        elif kind == 2 and isinstance(parent, dict):
            parent[rng.choice(["fields", "type", "array", "kind", str(last) + "_"])] = value
        elif kind == 3:
            parent[last] = copy.deepcopy(at(document, rng.choice(paths)))
        elif kind == 4 and isinstance(value, int | float):
            parent[last] = rng.choice(
                [
                    value + 1,
                    -value,
                    value * 2,
                    value / 2 if abs(value) < 2**60 else 0,
                    value * 10**9,
                ]
            )
        elif kind == 5 and isinstance(value, str):
            parent[last] = rng.choice([*names, value + "x", value[:-1]])
        elif kind == 6 and isinstance(value, list):
            rng.shuffle(value)
        else:
            parent[last] = copy.deepcopy(rng.choice(VALUES))
