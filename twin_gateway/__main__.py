"""`python -m twin_gateway`."""

from twin_gateway.cli import main

if __name__ == "__main__":
    main()
