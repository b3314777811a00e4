"""Writes core/tests/fixtures/encoders/: tiny encoders with random weights, and what sentence-transformers makes of them.

    pip install sentence-transformers
    python tests/parity/encoders.py

One folder a model, in the form in which sentence-transformers saves it: what BGE, E5, GTE and cross-encoders look like.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer, models
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as vocabularies
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

FOLDER = pathlib.Path(__file__).parents[2] / "core/tests/fixtures/encoders"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
TEXTS = ["", "a", "Where does Ada live?", "Ada moved to Paris in 2024.", "the quick brown fox jumps over the lazy dog",
         "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 66, "initializer_range": 0.3}


def word_pieces():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(vocabularies.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]", model_max_length=64,
                                   model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def unigrams():
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0),
              *((letter, -3.0 - i / 50) for i, letter in enumerate(LETTERS + LETTERS.upper()[:26]))]
    tokenizer = Tokenizer(vocabularies.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", pad_token="<pad>",
                                   eos_token="</s>", sep_token="</s>", unk_token="<unk>", model_max_length=64,
                                   model_input_names=["input_ids", "attention_mask"])


def rounded(model, kind):
    """The model with weights that `kind` can hold."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(kind).float())
    return model.eval()


def keep(folder, kind):
    """Brings the saved weights to `kind`, and leaves out what nobody reads."""
    for path in folder.rglob("model.safetensors"):
        save_file({name: tensor.to(kind).contiguous() for name, tensor in load_file(path).items()}, path)
    for path in list(folder.rglob("*")):
        if path.name in {"README.md", "special_tokens_map.json"}:
            path.unlink()


def sentence(name, model, tokenizer, pooling, kind, prompts=None):
    inner = FOLDER / "inner"
    rounded(model, kind).save_pretrained(inner)
    tokenizer.save_pretrained(inner)
    encoder = models.Transformer(str(inner), max_seq_length=48)
    whole = SentenceTransformer(modules=[encoder, models.Pooling(32, pooling_mode=pooling), models.Normalize()],
                                prompts=prompts, device="cpu")
    shutil.rmtree(inner)
    vectors = {"passages": whole.encode_document(TEXTS), "queries": whole.encode_query(TEXTS)}
    whole.save_pretrained(str(FOLDER / name), create_model_card=False)
    keep(FOLDER / name, kind)
    return {what: [[round(float(x), 7) for x in row] for row in rows] for what, rows in vectors.items()}


def cross(name, model, tokenizer, kind):
    inner = FOLDER / "inner"
    rounded(model, kind).save_pretrained(inner)
    tokenizer.save_pretrained(inner)
    whole = CrossEncoder(str(inner), device="cpu", max_length=64)
    shutil.rmtree(inner)
    scores = whole.predict([("Where does Ada live?", text) for text in TEXTS], activation_fn=torch.nn.Sigmoid())
    whole.save_pretrained(str(FOLDER / name))
    keep(FOLDER / name, kind)
    return [round(float(score), 7) for score in scores]


torch.manual_seed(7)
shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir(parents=True)
pieces, grams = word_pieces(), unigrams()
bert = BertConfig(vocab_size=len(pieces), **SIZES)
roberta = XLMRobertaConfig(vocab_size=len(grams), pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1, **SIZES)
distil = DistilBertConfig(vocab_size=len(pieces), dim=32, n_layers=2, n_heads=2, hidden_dim=64,
                          max_position_embeddings=66, initializer_range=0.3)
e5 = {"query": "query: ", "document": "passage: "}
found = {
    "texts": TEXTS,
    "query": "Where does Ada live?",
    "embedders": {
        "bert-mean": sentence("bert-mean", BertModel(bert), pieces, "mean", torch.float32),
        "bert-cls": sentence("bert-cls", BertModel(bert), pieces, "cls", torch.float16, {"query": "find: "}),
        "xlm-roberta-mean": sentence("xlm-roberta-mean", XLMRobertaModel(roberta), grams, "mean", torch.bfloat16, e5),
        "distilbert-last": sentence("distilbert-last", DistilBertModel(distil), pieces, "lasttoken", torch.float16),
    },
    "rerankers": {
        "bert-cross": cross("bert-cross", BertForSequenceClassification(
            BertConfig(vocab_size=len(pieces), num_labels=1, **SIZES)), pieces, torch.float16),
        "xlm-roberta-cross": cross("xlm-roberta-cross", XLMRobertaForSequenceClassification(XLMRobertaConfig(
            vocab_size=len(grams), pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1, num_labels=1,
            **SIZES)), grams, torch.float16),
    },
}
(FOLDER / "expected.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
print(sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()), "bytes")
