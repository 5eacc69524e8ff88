"""Lab Kit: train a model on a large table and understand what happens.

Nothing is imported here, so that ``import lab_kit`` is instant; import the module you need, for example
``from lab_kit import datasets, train``. README.md gives each module one line.
"""

__version__ = "0.1.0"
