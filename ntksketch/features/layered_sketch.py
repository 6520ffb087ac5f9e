"""x"""
def draw_layered(key, method, target, kind, X, n_components):
    raise ValueError("x")
