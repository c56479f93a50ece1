"""The program that this plugin puts on the far side of an ssh connection."""
