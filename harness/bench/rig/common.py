"""What every measurement here has in common."""

#: Slots, which each of the workers is measured with.
CONCURRENCIES = (1, 8, 32)
#: The clock runs from this result on, so that starting up and warming up are not in it.
WARM_RESULTS = 200
