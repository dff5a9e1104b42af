"""What Algorithm 6.4 knows before it sums over the examples: norms, moments, curvature, kernels, input derivatives.

For each layer, the backward pass holds what went in and the gradient that came back, by example: h_i and δ_i. An
example's gradient for W is their outer product h_i δ_iᵀ, and most of what is asked of it needs the two factors alone
(Goodfellow 2015). `by_example.py` gives them; each other file is a page or two of quantities made of them.
"""
