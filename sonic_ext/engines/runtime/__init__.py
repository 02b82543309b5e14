"""What engines that run networks on a device share: the device, its memory, whose turn it is, checkpoints."""
