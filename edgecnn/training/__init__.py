"""`edgecnn train`: a network is trained to the end, stopped and continued at will, and exported.

The parts, one file each: what is trained and how (`recipe`), on what (`datasets`, `batches`,
`augment`), the loop (`loop`, `optimizing`), what is kept of it (`checkpoint`, `result`, `curves`,
`events`), and what changes a training: a teacher (`distill`), 8-bit arithmetic (`quantize_aware`),
several processes (`distributed`). `run` puts them together.

It is made of PyTorch alone. What timm and torchvision have for training was looked at: timm's
optimizers and its cosine schedule are, for what is offered here, torch's SGD and AdamW and one
formula; torchvision's transforms go picture by picture (or draw one lot for a whole batch), where
pictures in memory can be varied all at once. So neither is needed, and a training repeats bit by
bit.

The short training that a search rewards is `edgecnn.train`, which shares these parts.
"""
