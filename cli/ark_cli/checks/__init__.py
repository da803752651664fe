"""The checks of ``kubectl ark doctor``, one module for each subject."""
