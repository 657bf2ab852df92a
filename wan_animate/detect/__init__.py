"""Pose detection."""
