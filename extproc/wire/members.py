"""Top-level members of request bodies: those that are known, in each dialect, and those that would name another model.

Sources: the vendors' SDKs (anthropic, openai), and for the extensions the documentation of the servers:
https://docs.vllm.ai/en/latest/serving/openai_compatible_server, https://docs.sglang.ai/basic_usage/openai_api_completions,
https://github.com/ggml-org/llama.cpp/tree/master/tools/server, https://openrouter.ai/docs/api-reference/parameters.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# They steer how an answer is written, or bring a tool that rules see (policy/authorization/features.py).
_EXTENSIONS = _names(
    """
    top_k top_a min_p typical_p tfs_z repetition_penalty repeat_penalty repeat_last_n length_penalty min_tokens
    mirostat mirostat_tau mirostat_eta mirostat_mode dynatemp_range dynatemp_exponent xtc_probability xtc_threshold
    dry_multiplier dry_base dry_allowed_length samplers no_repeat_ngram_size do_sample random_seed best_of
    use_beam_search early_stopping ignore_eos stop_token_ids stop_regex no_stop_trim bad_words bad_words_token_ids
    allowed_token_ids include_stop_str_in_output skip_special_tokens spaces_between_special_tokens
    add_special_tokens add_generation_prompt continue_final_message echo prefix prompt_logprobs n_probs
    return_token_ids return_tokens_as_token_ids chat_template_kwargs documents mm_processor_kwargs cache_prompt
    safe_prompt prompt_mode guided_json guided_regex guided_choice guided_grammar guided_whitespace_pattern
    guided_decoding_backend structured_outputs structural_tag grammar json_schema ebnf regex response_schema
    reasoning reasoning_effort reasoning_format reasoning_split include_reasoning separate_reasoning
    stream_reasoning enable_thinking thinking thinking_budget thinking_token_budget preserve_thinking think
    tool_stream vl_high_resolution_images result_format incremental_output usage verbosity keep_alive format
    mcp_servers plugins search_parameters data_sources enable_search search_options web_search web_search_options
    """
)
OF_MESSAGES = _EXTENSIONS | _names(
    """
    model max_tokens messages system stream temperature top_p stop_sequences metadata tools tool_choice
    output_config output_format service_tier cache_control container context_management compaction diagnostics
    inference_geo safeguards speed thread
    """
)
OF_CHAT = _EXTENSIONS | _names(
    """
    model messages stream stream_options max_tokens max_completion_tokens n temperature top_p stop seed
    frequency_penalty presence_penalty logit_bias logprobs top_logprobs tools tool_choice parallel_tool_calls
    functions function_call response_format modalities audio prediction metadata moderation service_tier store
    user safety_identifier prompt_cache_key prompt_cache_options prompt_cache_retention
    """
)
OF_RESPONSES = _EXTENSIONS | _names(
    """
    model input instructions stream stream_options max_output_tokens max_tool_calls temperature top_p
    top_logprobs tools tool_choice parallel_tool_calls text include background background_options conversation
    previous_response_id prompt context_management truncation metadata client_metadata moderation personality
    service_tier store user image access_programs safety_identifier prompt_cache_key prompt_cache_options
    prompt_cache_retention
    """
)
# By these gateways and clouds choose another model, or another address to ask.
STEERING = _names(
    """
    models fallback fallbacks fallback_model fallback_models model_list model_id model_name modelid modelname route
    router routes preset engine engine_id deployment deployment_id api_base api_key api_type api_version base_url
    baseurl endpoint url organization custom_llm_provider extra_headers extra_query
    """
)
# Gemini's own options, and for some gateways more members of the body.
_MORE_MEMBERS = "extra_body"


def steers(name: str, value: object) -> bool:
    """The member names another model or address."""
    folded = name.casefold()
    if folded == _MORE_MEMBERS and isinstance(value, dict):
        return any(inner.casefold() in STEERING | {"model"} for inner in value)
    return folded in STEERING
