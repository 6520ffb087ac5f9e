"""Benchmarks: accuracy, time and peak memory, side by side with peers.

``python -m benchmarks NAME [--short] [--output DIR] [--resume]`` measures, and writes NAME.json
with the table NAME.md and the plot NAME.png made from it; ``python -m benchmarks render NAME``
makes those two again. The page which_method.md is made from several of them.
A benchmark is a module with

* ``settings(short)``: everything that decides what is measured, as plain numbers and text;
* ``configurations(settings)``: flat dictionaries in the order of measuring, each with a "key"; one
  that begins with "long" is measured only if ``--only`` asks for it, such as ``--only long``;
* ``estimate(configuration, settings)``: seconds on two quiet cores, roughly;
* ``measure(configuration, settings)``: runs in a process of its own, returns a dictionary;
* ``table(results)`` and ``plot(results)``: Markdown and a figure, from the JSON alone.
"""

NAMES = (  # the shortest first
    "imports",
    "sparse",
    "sparse_quality",
    "pixels",
    "convergence",
    "theory",
    "speed",
    "uci",
    "ucr",
    "main",
    "scale",
    "frontier",
    "cifar10",
)
ACCELERATED = ("mesh",)  # sized for an accelerator, and not part of all
