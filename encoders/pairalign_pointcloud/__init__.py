"""Point clouds, by PointNet++ or DGCNN on torch-geometric's parts, without its compiled helpers."""

from __future__ import annotations

from pairalign_pointcloud.dgcnn import DGCNN
from pairalign_pointcloud.pointnet2 import PointNet2

__all__ = ["DGCNN", "PointNet2"]
