"""The index of papers: one row a paper, from which PAPERS.md is written.

`python -m ue_jax.report.papers [PATH]` writes it (to `PAPERS.md` in the current folder by default).
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

STATUS = {
  "planned": "not written yet; module, config and test are the names it will have",
  "implemented": "written and tested; no full-size run recorded yet",
  "verified": "implemented, and a run with hardware, seeds, wall time and date is recorded in docs/results",
}


class Paper(NamedTuple):
  """One paper.

  Attributes:
    id: the word that names it everywhere.
    number: its number in the list, 1 to 35.
    title: of the paper.
    year: of its first public version, or of the venue where that is how it is known.
    domain: the room it lives in.
    kinds: the factories it offers.
    module: `room.word`, below `ue_jax`.
    configs: paths from the root of the repository.
    tests: paths from the root of the repository.
    claim: one sentence: what the paper claims, with the number to expect where it gives one.
    status: a key of `STATUS`.
    also: further modules, for a paper with a second half in another room.
  """

  id: str
  number: int
  title: str
  year: int
  domain: str
  kinds: tuple[str, ...]
  module: str
  configs: tuple[str, ...]
  tests: tuple[str, ...]
  claim: str
  status: str = "planned"
  also: tuple[str, ...] = ()


def _paper(id: str, number: int, year: int, domain: str, kinds: str, title: str, claim: str, status: str = "planned",
           also: str = "") -> Paper:
  """A row whose paths follow from its words: `also` is the second half's `room.word`."""
  modules = [f"{domain}.{id}", *([also] if also else [])]
  places = [module.split(".") for module in modules]
  configs = tuple(f"configs/{'scale' if room == 'parallel' else room}/{word}.py" for room, word in places)
  tests = tuple(f"tests/{room}/{word}_test.py" for room, word in places)
  return Paper(id, number, title, year, domain, tuple(kinds.split()), modules[0], configs, tests, claim, status,
               tuple(modules[1:]))


PAPERS: tuple[Paper, ...] = (
  _paper("unlearnable_clusters", 1, 2023, "protect", "protect",
         "Unlearnable Clusters: Towards Label-agnostic Unlearnable Examples",
         "One perturbation a cluster protects under labellings that the protector never sees; a later paper measured a "
         "ResNet-18 on CIFAR-10 at 79.4 % against 90.3 % clean.", "implemented"),
  _paper("bayes_error", 2, 2025, "protect", "protect",
         "Towards Provably Unlearnable Examples via Bayes Error Optimisation",
         "Protection survives mixing with clean data: CIFAR-10 with half the pictures protected trains to 69.7 %, "
         "the clean half alone to 91.2 %.", "implemented"),
  _paper("ppp", 3, 2020, "cluster", "cluster", "Probabilistic Partitive Partitioning",
         "The same clusters for every seed and row order, without being told how many there are.", "implemented"),
  _paper("coreset", 4, 2025, "forget", "select",
         "LLM Unlearning Reveals a Stronger-Than-Expected Coreset Effect in Current Benchmarks",
         "Unlearning with a random 5 % of the forget set, trained for longer, is as effective as with all of it."),
  _paper("t2ue", 5, 2025, "protect", "protect", "T2UE: Generating Unlearnable Examples from Text Descriptions",
         "Noise made from the caption alone: Flickr30k image-to-text Hit@10 falls from 49.3 to 18.2; class-wise on "
         "CIFAR-10 a ResNet-18 reaches 10.0 %.", "implemented"),
  _paper("crisp", 6, 2025, "cluster", "train",
         "CRISP: Clustering Multi-Vector Representations for Denoising and Pruning",
         "Training through clustered token vectors prunes them at no cost: BEIR NDCG@10 54.5 with 8 clusters a query "
         "and 32 a document, 54.3 unpruned."),
  _paper("mcu", 7, 2026, "forget", "method",
         "Robust LLM Unlearning Against Relearning Attacks: The Minor Components in Representations Matter",
         "Unlearning in the minor components of the representations is undone more slowly by relearning."),
  _paper("ununlearning", 8, 2024, "audit", "attack measure",
         "UnUnlearning: Unlearning is not sufficient for content regulation in advanced generative AI",
         "Even exactly unlearned knowledge can be put back through the context (a position paper without figures)."),
  _paper("tabular_ncd", 9, 2023, "cluster", "cluster", "A Practical Approach to Novel Class Discovery in Tabular Data",
         "Hyper-parameters chosen by hiding known classes find novel classes without any label of them."),
  _paper("catnip", 10, 2026, "forget", "method",
         "CATNIP: LLM Unlearning via Calibrated and Tokenized Negative Preference Alignment",
         "A preference loss calibrated by the model itself, token by token, unlearns without retain data."),
  _paper("melu", 11, 2025, "forget", "select",
         "Standard vs. Modular Sampling: Best Practices for Reliable LLM Unlearning",
         "Pairing each forgotten entity with its own neighbourhood beats 1:1 sampling and any single neighbour set."),
  _paper("goalex", 12, 2023, "cluster", "cluster", "Goal-Driven Explainable Clustering via Language Descriptions",
         "Clusters chosen from proposed explanations by integer programming follow a goal stated in words."),
  _paper("fasterpam", 13, 2020, "cluster", "cluster",
         "Fast and Eager k-Medoids Clustering: O(k) Runtime Improvement of the PAM, CLARA, and CLARANS Algorithms",
         "The swap phase of k-medoids is 458 times faster than PAM at k = 100 and 1191 times at k = 200.",
         "implemented"),
  _paper("mirage", 14, 2026, "audit", "measure",
         "The Unlearning Mirage: A Dynamic Framework for Evaluating LLM Unlearning",
         "Multi-hop and alias questions recover facts that single-hop benchmarks call forgotten."),
  _paper("representation", 15, 2025, "audit", "measure",
         "Are We Truly Forgetting? A Critical Re-examination of Machine Unlearning Evaluation Protocols",
         "Methods that look like retraining by their logits keep the old representation or ruin it, by CKA and k-NN.",
         "implemented"),
  _paper("uncle", 16, 2025, "forget", "method", "An Unlearning Framework for Continual Learning (UnCLe)",
         "A hypernetwork forgets a task without its data: accuracy at chance, no relapse, other tasks kept.",
         "implemented"),
  _paper("few_shot", 17, 2021, "cluster", "cluster", "Transductive Few-Shot Learning: Clustering is All You Need?",
         "Clustering alone is a strong few-shot classifier: K-modes reaches 74.8 % on mini-ImageNet with one shot, "
         "84.5 % with five.", "implemented"),
  _paper("cuda", 18, 2023, "protect", "protect", "CUDA: Convolution-based Unlearnable Datasets",
         "One private blur a class: a ResNet-18 on CIFAR-10 falls from 94.7 to 18.5 %, and to 44.4 % under "
         "adversarial training at 4/255.", "implemented"),
  _paper("hamu", 19, 2026, "forget", "method", "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning",
         "A closed-form step forgets a set amount with the least harm, and says when harm becomes unavoidable.",
         "implemented"),
  _paper("restor", 20, 2024, "audit", "measure", "RESTOR: Knowledge Recovery in Machine Unlearning",
         "Methods that forget corrupted facts often fail to restore what the model knew before the corruption."),
  _paper("gedi", 21, 2023, "cluster", "train", "Unifying Self-Supervised Clustering and Energy-Based Models",
         "One likelihood objective trains a clustering network and an energy model that cannot collapse."),
  _paper("neds", 22, 2026, "forget", "method measure",
         "GONE: Structural Knowledge Unlearning via Neighborhood-Expanded Distribution Shaping",
         "Facts of a graph are forgotten with efficacy 1.000 at locality 0.839.", also="audit.gone"),
  _paper("gpc", 23, 2023, "cluster", "cluster",
         "Learning Semi-supervised Gaussian Mixture Models for Generalized Category Discovery",
         "Mixtures that split and merge find old and new classes together, and how many there are."),
  _paper("holmes", 24, 2023, "parallel", "plan",
         "Holmes: Towards Distributed Training Across Clusters with Heterogeneous NIC Environment",
         "Gradients stay within a cluster and only activations cross: 1.7 times as fast as Megatron-DeepSpeed and 1.14 "
         "times as fast as Megatron-LLaMA on mixed networks."),
  _paper("difficulty", 25, 2026, "audit", "measure",
         "Toward Understanding Unlearning Difficulty: A Mechanistic Perspective and Circuit-Guided Difficulty Metric",
         "Circuits before unlearning predict its difficulty: short and early for easy facts, long and late for hard."),
  _paper("traces", 26, 2025, "audit", "measure",
         "Unlearning Isn't Invisible: Detecting Unlearning Traces in LLMs from Model Outputs",
         "A classifier tells from outputs whether, and how, a model was unlearned."),
  _paper("tell", 27, 2018, "cluster", "cluster", "XAI Beyond Classification: Interpretable Neural Clustering",
         "k-means as a differentiable layer whose weights are the cluster centres.", "implemented"),
  _paper("laf", 28, 2024, "forget", "method", "Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models",
         "Forgetting by representations alone comes close to retraining without any label.", "implemented"),
  _paper("unpact", 29, 2025, "audit", "measure", "Understanding the Dilemma of Unlearning for Large Language Models",
         "Unlearning breaks the focus on keywords; much knowledge returns when they are emphasised."),
  _paper("worst_case", 30, 2024, "forget", "select",
         "Challenging Forgets: Unveiling the Worst-Case Forget Sets in Machine Unlearning",
         "A chosen forget set is far harder to unlearn than a random one of the same size.", "implemented"),
  _paper("skill", 31, 2025, "forget", "method", "Effective Skill Unlearning through Intervention and Abstention",
         "Abstaining where keys look like the skill's takes over 80 % of GSM8K away and leaves MBPP and MMLU at 99 %."),
  _paper("o3", 32, 2024, "forget", "method", "Practical Unlearning for Large Language Models (O3)",
         "Orthogonal adapters behind a detector serve a stream of unlearning requests without retain data."),
  _paper("froc", 33, 2025, "audit", "measure",
         "FROC: A Unified Framework with Risk-Optimized Control for Machine Unlearning in LLMs",
         "A conformal bound says how badly an unlearning configuration can fail."),
  _paper("scope", 34, 2025, "forget", "select method", "Keeping an Eye on LLM Unlearning: The Hidden Risk and Remedy",
         "A stealthy forget request cuts utility under common words from 0.68 to 0.16; the remedy restores it to 0.68 "
         "(gradient difference, forget 10 %)."),
  _paper("quantize", 35, 2024, "audit", "attack", "Catastrophic Failure of LLM Unlearning via Quantization",
         "Rounding to 4 bits brings back 83 % of the forgotten knowledge, against 21 % in full precision.",
         "implemented"),
)


def paper(id: str) -> Paper | None:
  """The row with this word, or None."""
  return next((row for row in PAPERS if id in (row.id, *(m.split(".")[1] for m in row.also))), None)


def markdown(papers: Sequence[Paper] = PAPERS) -> str:
  """The text of PAPERS.md."""
  count = {status: sum(p.status == status for p in papers) for status in STATUS}
  lines = [
    "# Papers", "",
    "Generated by `python -m ue_jax.report.papers`; edit `ue_jax/report/papers.py` instead.", "",
    "One word names a paper everywhere: its module, its config, its test and its row here.", "",
    *(f"- **{status}** ({count[status]}): {meaning}" for status, meaning in STATUS.items()), "",
    "The last column is what the paper claims, with its own figures. What came out here stands in the docstring of the "
    "config and, where a run is recorded, in docs/results; it may be less.", "",
    "| # | word | paper | year | kind | module | config | status | what the paper claims |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    *map(_line, papers), "",
  ]
  return "\n".join(lines)


def main(path: str = "PAPERS.md") -> None:
  """Writes PAPERS.md."""
  pathlib.Path(path).write_text(markdown(), encoding="utf-8")


def _line(p: Paper) -> str:
  exists = p.status != "planned"
  modules = [_code(f"ue_jax/{m.replace('.', '/')}.py", exists) for m in (p.module, *p.also)]
  configs = [_code(c, exists) for c in p.configs]
  cells = (p.number, f"`{p.id}`", p.title, p.year, ", ".join(p.kinds), "<br>".join(modules), "<br>".join(configs),
           p.status, p.claim)
  return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def _code(path: str, exists: bool) -> str:
  return f"[`{path}`]({path})" if exists else f"`{path}`"


if __name__ == "__main__":
  main(*sys.argv[1:2])
