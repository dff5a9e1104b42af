"""Public functions of keras, called with its backend of JAX: its gradient rules are audited where they are used."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from common import A, tried
from keras.src import quantizers


def quantized(layer, mode, x, config=None):
    layer.build(np.shape(x))
    layer.quantize(mode, config=config)
    layer(x)


tried(
    lambda: quantizers.fake_quant_with_min_max_vars(A, -1.0, 1.0),
    lambda: quantizers.fake_quant_with_min_max_vars(A, -np.ones(3), np.ones(3), axis=1),
    lambda: quantized(keras.layers.Dense(4), "int8", A),
    lambda: quantized(keras.layers.Dense(4), "int4", A),
    lambda: quantized(keras.layers.Dense(4), "int4", A, quantizers.Int4QuantizationConfig(block_size=None)),
    lambda: quantized(keras.layers.Dense(4), "float8", A),
    lambda: quantized(keras.layers.EinsumDense("ab,bc->ac", 4), "int8", A),
    lambda: quantized(keras.layers.EinsumDense("ab,bc->ac", 4), "int4", A),
    lambda: quantized(
        keras.layers.EinsumDense("ab,bc->ac", 4), "int4", A, quantizers.Int4QuantizationConfig(block_size=None)
    ),
    lambda: quantized(keras.layers.EinsumDense("ab,bc->ac", 4), "float8", A),
)
