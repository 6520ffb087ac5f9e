"""``python -m ntksketch.cli``: the command line without the console script."""

from ntksketch.cli.entry import main

if __name__ == "__main__":
    main()
