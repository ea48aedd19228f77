"""Systems of the tests, put into THE LIST by `launch.py`: what a town does with any system."""
