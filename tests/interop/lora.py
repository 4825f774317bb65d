"""A LoRA adapter exported by recant, loaded by peft, against the checkpoint that recant wrote.

usage: lora.py BASE ADAPTER EDITED

The adapter on the base model and the edited checkpoint must give the same logits: the adapter is exact, so what is
left is the order of f32 sums and, for checkpoints of narrower types, the one rounding of the edited weights.
"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def main(base_dir: str, adapter_dir: str, edited_dir: str) -> int:
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    base, edited = load(base_dir), load(edited_dir)
    ids = torch.arange(3, 3 + 2 * 9).reshape(2, 9) % base.config.vocab_size
    with torch.no_grad():
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(load(base_dir), adapter_dir).eval()
        through_adapter = adapted(ids).logits
        merged = adapted.merge_and_unload()(ids).logits
        wanted = edited(ids).logits
    scale = wanted.abs().max().item()
    moved = (wanted - before).abs().max().item() / scale
    worst = 0.0
    for name, logits in [("adapter", through_adapter), ("merged", merged)]:
        off = (logits - wanted).abs().max().item() / scale
        worst = max(worst, off)
        print(f"{name}: logits differ by {off:.1e} of their largest; the edit moved them by {moved:.1e}")
    if moved < 10 * TOLERANCE:
        print("the edit moved too little to tell anything")
        return 1
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
