"""The flow engine: lanes, channels, barriers and checkpoints."""
