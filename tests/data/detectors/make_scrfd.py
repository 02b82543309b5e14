"""Makes `tiny_scrfd.onnx`: a network with the inputs and outputs of an SCRFD face detector and no training.

    python make_scrfd.py   (needs the package onnx)

It takes what is bright for a face: per grid of 8, 16 and 32 pixels the mean of each cell decides the scores
of two anchors. Only the coarsest can reach the threshold; its boxes reach one cell up and left and two down
and right, its five points lie on a diagonal. What the tests assert about boxes and points is read off here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
ANCHORS = 2
DISTANCES = (1.0, 1.0, 2.0, 2.0)
"""Left, top, right, bottom, in cells."""
POINTS = (0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0)


def level(stride: int, nodes: list, weights: list) -> list[str]:
    """Nodes of one grid; names of its score, distance and point outputs."""
    nodes.append(
        helper.make_node(
            "AveragePool", ["input"], [f"mean_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
        )
    )
    names = []
    steep = 4.0 if stride == 32 else 0.0
    for what, bias, gain in (
        ("score", [-2.0 if stride == 32 else -9.0, -2.5 if stride == 32 else -9.0], steep / 3),
        ("box", DISTANCES * ANCHORS, 0.0),
        ("point", POINTS * ANCHORS, 0.0),
    ):
        name = f"{what}_{stride}"
        kernel = np.full((len(bias), 3, 1, 1), gain, np.float32)
        weights += [
            numpy_helper.from_array(kernel, f"{name}_w"),
            numpy_helper.from_array(np.array(bias, np.float32), f"{name}_b"),
            numpy_helper.from_array(np.array([-1, len(bias) // ANCHORS], np.int64), f"{name}_shape"),
        ]
        nodes.append(
            helper.make_node(
                "Conv", [f"mean_{stride}", f"{name}_w", f"{name}_b"], [f"{name}_c"], kernel_shape=[1, 1]
            )
        )
        last = f"{name}_c"
        if what == "score":
            nodes.append(helper.make_node("Sigmoid", [last], [f"{name}_s"]))
            last = f"{name}_s"
        nodes.append(helper.make_node("Transpose", [last], [f"{name}_t"], perm=[0, 2, 3, 1]))
        nodes.append(helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [name]))
        names.append(name)
    return names


def main() -> None:
    """Write the file beside this one."""
    nodes: list = []
    weights: list = []
    names = [level(stride, nodes, weights) for stride in STRIDES]
    ordered = [name for kind in zip(*names, strict=True) for name in kind]
    widths = {"score": 1, "box": 4, "point": 10}
    outputs = [
        helper.make_tensor_value_info(
            name,
            TensorProto.FLOAT,
            [ANCHORS * (640 // int(name.split("_")[1])) ** 2, widths[name.split("_")[0]]],
        )
        for name in ordered
    ]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "tiny_scrfd", [picture], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    onnx.save(model, Path(__file__).with_name("tiny_scrfd.onnx"))


if __name__ == "__main__":
    main()
