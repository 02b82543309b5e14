"""Every node of the pack."""

from __future__ import annotations

from .checks import SyncScoreNode, VerifyNode
from .nodes import CalibrationNode, ExportNode, GenerateNode, LoaderNode, PreDataNode, SmoothingNode, TurnNode

NODES = (
    PreDataNode,
    CalibrationNode,
    SmoothingNode,
    LoaderNode,
    GenerateNode,
    ExportNode,
    VerifyNode,
    SyncScoreNode,
    TurnNode,
)
