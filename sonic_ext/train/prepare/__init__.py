"""Real talking video becomes clips to train on: `sonic train prepare`."""
