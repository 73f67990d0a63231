"""The lab: a small internet on one machine. docker/lab is its command line; LAB.md's interface, one module per noun."""
