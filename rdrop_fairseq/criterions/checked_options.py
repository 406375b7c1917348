"""Options of a criterion that are checked, however they come."""

from fairseq.criterions import FairseqCriterion


class CheckedOptions(FairseqCriterion):
    """A mixin, before a fairseq criterion: adds its options to the parser, and checks them."""

    options: tuple
    """The criterion's own, and those of the fairseq criterion that have a range here."""

    @classmethod
    def add_args(cls, parser):
        """Add the options; one that is out of range ends the program in a sentence."""
        for option in cls.options:
            option.add_to(parser)
        super().add_args(parser)  # which adds those that are not there yet

    def check_options(self, cfg) -> None:
        """Raise ``ValueError`` if an option is out of range."""
        for option in self.options:
            option.check(getattr(cfg, option.name))
