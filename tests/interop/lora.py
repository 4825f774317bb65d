"""A LoRA adapter exported by recant, loaded by peft, against the checkpoint that recant wrote.

usage: lora.py BASE ADAPTER EDITED

The adapter on the base model and the edited checkpoint must give the same logits: the adapter is exact, so what is
left is the order of f32 sums. A checkpoint of a narrower type rounds the edited weights once; the merged adapter is rounded
in the same way, and the adapter beside the weights, which is not, is compared loosely.
"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4
# Of a whole model against one in which a matrix was rounded to 8 or 11 bits.
UNROUNDED = 5e-2


def main(base_dir: str, adapter_dir: str, edited_dir: str) -> int:
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    base, edited = load(base_dir), load(edited_dir)
    ids = torch.arange(3, 3 + 2 * 9).reshape(2, 9) % base.config.vocab_size
    with torch.no_grad():
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(load(base_dir), adapter_dir).eval()
        through_adapter = adapted(ids).logits
        whole = adapted.merge_and_unload()
        stored = next(AutoModelForCausalLM.from_pretrained(edited_dir, dtype="auto").parameters()).dtype
        for parameter in whole.parameters():
            parameter.copy_(parameter.to(stored).to(torch.float32))
        merged = whole(ids).logits
        wanted = edited(ids).logits
    scale = wanted.abs().max().item()
    moved = (wanted - before).abs().max().item() / scale
    same = True
    beside = TOLERANCE if stored == torch.float32 else UNROUNDED
    for name, logits, tolerance in [("adapter", through_adapter, beside), ("merged", merged, TOLERANCE)]:
        off = (logits - wanted).abs().max().item() / scale
        same = same and off <= tolerance
        print(f"{name}: logits differ by {off:.1e} of their largest; the edit moved them by {moved:.1e}")
    if moved < 10 * TOLERANCE:
        print("the edit moved too little to tell anything")
        return 1
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
