"""What is to be done, given what is there: pure, and tested by tables."""
