"""Faults of the trainer: moving average, fp16 on a CPU, last update, log file."""

import functools
import logging
import os
import types


def keep_versions_in_moving_average(restore):
    """In every fairseq the moving average of ``--store-ema`` loses its last layer norms.

    Its state comes without the buffers named ``version``, and a Transformer takes such a state for
    an old one, from before there were layer norms at the end of encoder and decoder.
    """

    @functools.wraps(restore)
    def restore_with_versions(ema, state_dict, *args, **kwargs):
        own = ema.model.state_dict()
        versions = {name: own[name] for name in own if name.endswith("version")}
        return restore(ema, {**versions, **state_dict}, *args, **kwargs)

    return restore_with_versions


def torch_without_gpu(torch):
    """Every fairseq moves a tensor to the GPU when fp16 overflows, even with ``--cpu``.

    Training then stops with ``Torch not compiled with CUDA enabled``, where on a GPU it lowers the
    loss scale and goes on. That is the one place at which fairseq's trainer calls
    ``torch.tensor``: PyTorch for this module, with a ``tensor`` that stays where there is no GPU.
    """

    class TensorForOverflow(torch.Tensor):
        def cuda(self, *args, **kwargs):
            tensor = self.as_subclass(torch.Tensor)
            return tensor.cuda(*args, **kwargs) if torch.cuda.is_available() else tensor

    class TorchOfTrainer(types.ModuleType):
        @staticmethod
        def tensor(*args, **kwargs):
            return torch.tensor(*args, **kwargs).as_subclass(TensorForOverflow)

        def __getattr__(self, name):
            return getattr(torch, name)

    return TorchOfTrainer("torch")


def stop_at_max_update(load_checkpoint):
    """fairseq makes one update more each time a training at its ``--max-update`` is continued.

    It looks at ``--max-update`` after an update, but at ``--max-epoch`` before an epoch, and reads
    the latter when it has loaded the checkpoint. However fairseq was started, it loads it with
    this function.
    """

    @functools.wraps(load_checkpoint)
    def load_and_leave_no_epoch_if_done(cfg, trainer, **kwargs):
        loaded = load_checkpoint(cfg, trainer, **kwargs)
        optimization = trainer.cfg.optimization
        if 0 < optimization.max_update <= trainer.get_num_updates():
            optimization.max_epoch = -1  # 0 would mean that there is no last epoch
        return loaded

    return load_and_leave_no_epoch_if_done


def open_log_once(progress_bar):
    """Every fairseq opens ``--log-file`` again for each epoch and each validation.

    It writes a line as often as it has opened the file, and one file stays open for each time: a
    long training ends with ``Too many open files``.
    """

    @functools.wraps(progress_bar)
    def progress_bar_with_one_log(*args, log_file=None, **kwargs):
        handlers = logging.getLogger(progress_bar.__module__).handlers
        opened = {getattr(handler, "baseFilename", None) for handler in handlers}
        if log_file is not None and os.path.abspath(log_file) in opened:
            log_file = None
        return progress_bar(*args, log_file=log_file, **kwargs)

    return progress_bar_with_one_log
