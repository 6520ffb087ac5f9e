"""Row blocks and the memory they may take."""
