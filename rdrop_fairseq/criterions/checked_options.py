"""Options of a criterion that are checked, however they come."""

from fairseq.criterions import FairseqCriterion


class CheckedOptions(FairseqCriterion):
    """A mixin, before a fairseq criterion: adds its options to the parser, and checks them."""

    options: tuple
    """What the criterion adds to those of the fairseq criterion that it extends."""

    @classmethod
    def checked_options(cls) -> tuple:
        """The options whose values are checked."""
        return cls.options

    @classmethod
    def add_args(cls, parser):
        """Add the options; one that is out of range ends the program in a sentence."""
        for option in cls.checked_options():
            option.add_to(parser)
        super().add_args(parser)  # which adds those that are not there yet

    def check_options(self, cfg) -> None:
        """Raise ``ValueError`` if an option is out of range."""
        for option in self.checked_options():
            option.check(getattr(cfg, option.name))
