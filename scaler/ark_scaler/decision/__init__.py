"""What a trigger asks for, and what a reading says of it: pure."""
