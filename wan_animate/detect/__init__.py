"""Pose detection with ONNX networks or MediaPipe."""
