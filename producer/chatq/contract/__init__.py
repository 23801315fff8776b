"""What a producer and a worker of different versions must agree on. Imports nothing else of ours."""
