"""Facts and rules of every module: pure Python, no clock, no input or output."""
