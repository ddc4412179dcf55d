"""Writes the trained Qwen3 as GGUF with the `gguf` package.

By hand and not with llama.cpp's converter: `tokenizer.ggml.pre = "qwen2"` names the split of our
tokenizer, which the converter would look up by a hash over token ids that no home-made vocabulary can match.
"""

import json
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from tests.models.parrot.tokenizer import TEMPLATE


def write_gguf(model: Qwen3ForCausalLM, tokenizer: Tokenizer, path: Path, kind: str) -> None:
    """Write model, tokenizer and chat template to `path`; `kind` is F32, F16 or BF16."""
    writer = gguf.GGUFWriter(str(path), "qwen3")
    _add_shape(writer, model)
    writer.add_file_type(getattr(gguf.LlamaFileType, "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"))
    _add_tokenizer(writer, tokenizer, model.config.vocab_size)
    _add_tensors(writer, model, getattr(gguf.GGMLQuantizationType, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, model: Qwen3ForCausalLM) -> None:
    config = model.config
    writer.add_name("parrot")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    spec = json.loads(tokenizer.to_str())
    added = {token["id"]: token for token in spec["added_tokens"]}
    vocabulary = {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}

    def kind(number: int) -> gguf.TokenType:
        if number not in added:
            return gguf.TokenType.NORMAL
        return gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([vocabulary[number] for number in range(size)])
    writer.add_token_types([kind(number) for number in range(size)])
    merges = spec["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.token_to_id("<|im_end|>"))
    writer.add_pad_token_id(tokenizer.token_to_id("<|endoftext|>"))
    # llama.cpp would take id 11 for the beginning of a text otherwise.
    writer.add_bos_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _add_tensors(writer: gguf.GGUFWriter, model: Qwen3ForCausalLM, kind: gguf.GGMLQuantizationType) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, model.config.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight":  # tied to the embedding
            continue
        values = np.ascontiguousarray(tensor.detach().float().numpy())
        stored = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else kind
        name = names.get_name(key, try_suffixes=(".weight",))
        writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)
