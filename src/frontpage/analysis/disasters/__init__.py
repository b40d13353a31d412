"""Runs that are killed or find no room on the disk, continued, and compared with runs that nothing disturbed."""
