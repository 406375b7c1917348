"""What a training leaves behind: its log and its checkpoints."""
