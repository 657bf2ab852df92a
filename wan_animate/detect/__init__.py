"""Pose detection: ONNX networks, their preprocessing and decoding, and MediaPipe."""
