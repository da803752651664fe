"""The program ``kubectl ark``."""

from ark_process.signals import end_at_once


def main() -> None:
    """Run the program; a signal ends it from here on, and not only when all of it is imported."""
    end_at_once()
    from ark_cli.main import main as run  # noqa: PLC0415 - after the handlers

    run()


if __name__ == "__main__":
    main()
