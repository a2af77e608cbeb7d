"""Lines of the code that must not be wrong, each with the one test that must see it when it is."""
