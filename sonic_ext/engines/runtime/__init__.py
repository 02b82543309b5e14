"""What engines that run networks on a device share: the device, its memory, a lock for it, checkpoints."""
