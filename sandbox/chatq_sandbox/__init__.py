"""The provider simulator and the demo: everything can be tried without a network and without keys."""
