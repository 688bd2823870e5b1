"""What a trainer does to pictures before training, to get rid of a protection."""
