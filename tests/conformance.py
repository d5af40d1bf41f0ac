"""Which test shows which conformance item of the protocol (its section 13) and which behaviour of the paper exchange.

`python -m tests.items` writes both into docs/coverage.md; tests/test_items.py fails when one has lost a test.
"""

from typing import Final, NamedTuple


class Shown(NamedTuple):
    """An item.

    Attributes:
        what: In our words.
        tests: Node ids below `tests/`, without parameters.
    """

    what: str
    tests: tuple[str, ...]


def shown(what: str, file: str, *names: str) -> Shown:
    """Make an item whose tests stand in one file; one of another file is named with it."""
    return Shown(what, tuple(n if "::" in n else f"{file}::{n}" for n in names))


WS: Final = "server/test_ws.py"
HUB: Final = "hub/test_hub.py"
ORDERS: Final = "desk/test_orders.py"
DAY: Final = "flows/test_day.py"
OVER_A_KILL: Final = f"{DAY}::test_an_order_fills_on_every_socket_and_all_is_there_after_a_kill"
HALT_AND_DEADMAN: Final = f"{DAY}::test_a_halt_and_a_deadman_survive_a_kill"
ATTACKERS: Final = "server/test_adversary.py::test_an_attacker_costs_little_and_is_gone"
BYSTANDERS: Final = "server/test_adversary.py::test_good_clients_hardly_notice_attackers"
TRANSCRIPTS: Final = "protocol/test_transcripts.py::test_57_the_transcript_is_true"

PROTOCOL: Final[dict[int, Shown]] = {
    1: shown("welcome, first and whole", WS, "test_01_welcome_comes_first_and_has_every_field"),
    2: shown("arrays", WS, "test_02_every_frame_is_an_array_with_batch_and_none_without"),
    3: shown("a pace", WS, "test_03_with_every_50_data_comes_each_50_ms_and_replies_at_once"),
    4: shown(
        "a change of pace",
        WS,
        "test_04_pace_takes_effect_within_one_interval_and_loses_no_table_update",
    ),
    5: shown(
        "wrong options and subprotocols",
        WS,
        "test_05_an_unknown_or_malformed_option_is_400",
        "test_05_only_unknown_subprotocols_are_400_and_ours_is_echoed",
    ),
    6: shown(
        "Origin and Host",
        WS,
        "test_06_foreign_null_and_look_alike_origins_are_403",
        "test_06_a_foreign_host_is_403",
    ),
    7: shown(
        "a frame behind auth", WS, "test_07_a_frame_right_behind_auth_is_judged_with_the_new_scopes"
    ),
    8: shown(
        "no auth, an expired or revoked token",
        WS,
        "test_08_no_auth_within_ten_seconds_closes_4401",
        "test_08_an_expired_token_closes_and_nothing_follows",
        "test_08_a_revoked_token_closes_at_once",
    ),
    9: shown("tickets", WS, "test_09_a_ticket_works_once_within_30_s_from_its_origin"),
    10: shown(
        "scopes of every op",
        WS,
        "test_10_every_op_with_every_scope_is_judged_alike_on_socket_and_http",
    ),
    11: shown(
        "the reply before the data",
        WS,
        "test_11_the_reply_precedes_the_data_under_concurrent_publishing",
    ),
    12: shown("partial success", WS, "test_12_a_bad_channel_stands_in_failed_and_the_others_flow"),
    13: shown(
        "at rest clients hold what the server holds",
        "hub/test_delivery.py",
        "test_at_rest_every_client_holds_what_the_server_holds_whatever_happened",
        "test_the_machine_finds_the_planted_fault",
    ),
    14: shown(
        "equal bytes for everybody", HUB, "test_updates_are_the_same_bytes_whatever_the_reader"
    ),
    15: shown(
        "resuming with nothing received",
        WS,
        "test_15_who_received_nothing_resumes_and_misses_nothing",
        TRANSCRIPTS,
    ),
    16: shown(
        "exactly the missed updates, or one snapshot",
        WS,
        "test_16_a_journaled_log_resumes_from_the_journal_and_meets_the_ring",
        "test_16_a_journal_that_has_lost_entries_is_not_made_up_for",
        "hub/test_rows.py::test_a_table_resumes_exactly_while_its_messages_are_held",
        "hub/test_values.py::test_a_value_resumes_with_the_newest_or_with_nothing",
    ),
    17: shown(
        "fills over a kill",
        DAY,
        OVER_A_KILL,
        "hub/test_logs.py::test_a_journaled_log_resumes_across_a_restart_with_the_same_bytes",
    ),
    18: shown(
        "a stream made again has a new epoch",
        "hub/test_values.py",
        "test_a_stream_lives_on_for_a_while_and_is_made_again_with_another_epoch",
    ),
    19: shown(
        "subscribing again",
        HUB,
        "test_subscribing_again_restarts_one_channel_and_leaves_the_others",
    ),
    20: shown(
        "the last value of a burst",
        "hub/test_values.py",
        "test_the_last_value_of_a_burst_arrives_at_the_tick_and_nothing_before_it",
    ),
    21: shown(
        "exactly the depth",
        "hub/test_books.py",
        "test_a_client_that_applies_updates_holds_exactly_the_depth",
    ),
    22: shown(
        "checksums",
        "hub/test_books.py",
        "test_the_checksum_vectors_are_reproduced",
        "hub/test_recorded.py::test_22_on_a_recording_every_checksum_fits_and_every_depth_is_held",
    ),
    23: shown(
        "an upstream gap, and no crossed book",
        "hub/test_books.py",
        "test_a_crossed_book_is_skipped_and_the_next_whole_one_is_a_snapshot_upstream",
        "test_a_repaired_book_is_published_at_once_under_every_rate",
        "venues/test_replay.py::test_a_gap_makes_the_book_stale_and_nothing_fills_until_it_is_repaired",
    ),
    24: shown(
        "price steps",
        "hub/test_books.py",
        "test_groups_sum_the_whole_book_bids_down_asks_up",
        "test_a_grouped_book_is_a_stream_of_its_own_over_all_levels",
    ),
    25: shown("symbols listed later", WS, "test_25_all_tickers_bring_a_symbol_listed_later"),
    26: shown(
        "both printed clients",
        "client/test_reference.py",
        "test_26_the_printed_clients_converge_after_cuts_restarts_lag_and_gaps",
        "test_26_the_printed_clients_follow_a_server_over_a_kill",
    ),
    27: Shown("a stalled reader", (ATTACKERS, BYSTANDERS)),
    28: shown(
        "a slow reader",
        HUB,
        "test_a_slow_reader_of_a_table_gets_a_snapshot_if_that_is_smaller",
        "hub/test_logs.py::test_what_a_snapshot_does_not_make_up_for_is_counted_as_lost",
        f"{WS}::test_a_reader_that_pauses_gets_its_replies_first_and_then_the_newest_values",
    ),
    29: shown(
        "a journaled log beyond its ring",
        "hub/test_logs.py",
        "test_a_journaled_log_beyond_the_ring_closes_a_slow_reader_and_a_paced_one",
        f"{WS}::test_16_a_journaled_log_resumes_from_the_journal_and_meets_the_ring",
    ),
    30: Shown("a flood of pings", (ATTACKERS,)),
    31: shown(
        "frames that close",
        WS,
        "test_31_a_binary_frame_closes_4400",
        "test_31_the_twentieth_unreadable_frame_in_a_minute_closes_4400",
        "server/test_front.py::test_hostile_frames_get_their_closes",
    ),
    32: shown("whatever is sent", WS, "test_32_whatever_is_sent_gets_a_coded_reply"),
    33: shown(
        "heartbeats", WS, "test_33_heartbeats_come_every_interval_on_busy_and_idle_connections"
    ),
    34: shown(
        "silent and quiet feeds",
        WS,
        "test_34_a_silent_feed_is_told_to_its_readers_and_to_new_ones",
        "commands/test_market_ops.py::test_a_silent_venue_is_stale_and_a_quiet_one_is_not",
        "venues/test_chaos.py::test_a_frozen_symbol_is_stale_after_its_time_and_back_with_its_whole_book",
    ),
    35: shown(
        "shutdown with slots",
        WS,
        "test_35_draining_sends_slots_then_closes_4503",
        f"{DAY}::test_sigterm_says_goodbye_and_ends_with_zero",
    ),
    36: shown(
        "the effect is visible at `at`",
        ORDERS,
        "test_a_placement_is_answered_with_the_venues_answer_and_where_it_shows",
        "test_a_fill_names_every_stream_it_changed",
        "desk/test_halt.py::test_a_halt_names_only_the_streams_it_changed",
        "commands/test_at.py::test_every_stream_that_a_command_moves_is_named",
        OVER_A_KILL,
    ),
    37: shown(
        "one id, one order",
        ORDERS,
        "test_fifty_at_once_make_one_order_and_equal_answers",
        OVER_A_KILL,
    ),
    38: shown(
        "one id, other content",
        ORDERS,
        "test_the_same_id_with_other_content_is_a_conflict_also_after_a_restart",
    ),
    39: shown(
        "a venue that stays silent",
        ORDERS,
        "test_silence_is_an_unknown_outcome_after_ten_seconds_and_resolved_once",
        "desk/test_unknown.py::test_a_restart_in_between_resolves_every_command_exactly_once",
    ),
    40: shown(
        "a day of silence",
        "desk/test_unknown.py",
        "test_a_day_of_silence_leaves_unknown_as_it_is",
        "test_with_any_part_of_the_proof_missing_it_stays_unknown",
    ),
    41: shown(
        "what has expired",
        ORDERS,
        "test_an_order_whose_time_is_over_while_it_waits_is_never_sent",
        f"{WS}::test_41_what_has_expired_is_not_carried_out",
    ),
    42: shown(
        "the other mode, unknown fields",
        WS,
        "test_42_the_other_mode_and_unknown_fields_are_refused_on_every_op",
    ),
    43: shown("dry runs", ORDERS, "test_a_dry_run_leaves_everything_untouched"),
    44: shown(
        "preview and placement agree",
        "engine/test_machine_gate.py",
        "test_limits_hold_for_every_interleaving",
        "commands/test_order_ops.py::test_a_preview_and_a_placement_are_judged_alike",
    ),
    45: shown("batches", ORDERS, "test_a_batch_answers_each_item_in_order_and_none_hurts_another"),
    46: shown(
        "a cancel behind a crowd",
        "desk/test_halt.py",
        "test_a_cancel_leaves_within_100_ms_while_orders_crowd_the_limiter",
    ),
    47: shown(
        "placements that race a halt",
        "desk/test_halt.py",
        "test_of_a_thousand_placements_racing_a_halt_none_goes_out_after_its_reply",
        HALT_AND_DEADMAN,
    ),
    48: shown(
        "dead man's timers",
        "desk/test_deadman.py",
        "test_it_fires_once_when_it_is_not_renewed",
        "test_grace_runs_from_the_end_of_the_last_of_two_connections",
        "test_goodbye_does_not_fire_it",
        "desk/test_switches.py::test_it_cancels_the_clients_orders_and_nobody_elses_nor_attached_stops",
        HALT_AND_DEADMAN,
    ),
    49: shown("confirmations", WS, "test_49_a_confirmation_is_bound_to_its_command"),
    50: shown(
        "policies for stopping",
        WS,
        "test_50_a_policy_that_names_a_safety_op_stops_the_start",
        "test_app.py::test_what_is_not_safe_does_not_start",
    ),
    51: shown(
        "rates",
        WS,
        "test_51_waiting_out_retry_after_succeeds_and_other_lanes_go_on",
        "test_51_ignoring_it_three_times_closes_4429",
        "test_51_numbers_that_cannot_be_taken_cost_what_the_op_costs",
    ),
    52: shown(
        "commands in flight",
        WS,
        "test_52_commands_beyond_64_in_flight_are_busy_and_the_safety_lane_is_not",
    ),
    53: shown(
        "the same over HTTP",
        "server/test_http.py",
        "test_53_every_op_gives_the_same_result_over_http",
        "test_53_every_code_has_its_status_and_is_the_same_as_over_a_socket",
    ),
    54: shown(
        "a snapshot over HTTP, resumed",
        "server/test_http.py",
        "test_54_a_snapshot_is_the_very_message_and_a_position_to_resume_from",
        OVER_A_KILL,
    ),
    55: shown(
        "codes, notices, reasons, closes",
        "protocol/test_document.py",
        "test_55_codes_notices_reasons_and_closes_are_those_of_the_document",
    ),
    56: shown(
        "AsyncAPI and OpenAPI",
        "protocol/test_document.py",
        "test_56_the_official_parsers_take_the_documents",
        "test_56_the_official_parsers_find_a_planted_fault",
        "test_56_nothing_was_taken_away",
    ),
    57: Shown("transcripts", (TRANSCRIPTS,)),
}
"""Conformance items 1 to 57."""

TYPES: Final = "engine/test_matching_types.py"
MARKET: Final = "engine/test_matching_rules.py"
FILLING: Final = "engine/test_matching_filling.py"
ACCOUNTS: Final = "engine/test_matching_accounts.py"
PERPETUALS: Final = "engine/test_matching_perpetuals.py"
STREAMS: Final = "engine/test_matching_streams.py"
PAPER: Final = "venues/test_paper.py"
CHAOS: Final = "venues/test_chaos.py"
CONSERVED: Final = "engine/test_matching_properties.py::test_matching_conserves_and_never_overdraws"

EXCHANGE: Final[dict[str, Shown]] = {
    "X1.1": shown(
        "types",
        TYPES,
        "test_a_market_order_takes_the_book",
        "test_a_limit_order_trades_what_crosses_and_rests_the_remainder",
        "test_a_trigger_fires_at_its_price_and_not_before",
        "test_a_triggered_limit_order_rests_at_its_price",
        "test_a_take_profit_limit_takes_at_its_price_or_better",
        "test_a_trailing_stop_follows_in_favour_only_and_fires_no_later_than_asked",
    ),
    "X1.2": shown(
        "brackets and OCO",
        TYPES,
        "test_a_partial_fill_of_one_leg_shrinks_the_other",
        "test_a_filled_leg_ends_the_other_and_releases_everything",
        "engine/test_machine_legs.py::test_legs_always_fit",
    ),
    "X1.3": shown(
        "time in force",
        TYPES,
        "test_immediate_or_cancel_takes_what_is_there",
        "test_fill_or_kill_is_checked_before_anything_fills",
        "test_an_order_good_till_a_date_expires_also_when_partly_filled",
    ),
    "X1.4": shown(
        "post-only",
        TYPES,
        "test_post_only_is_refused_when_it_would_take",
        "test_post_only_ends_rejected_when_its_trigger_would_make_it_take",
    ),
    "X1.5": shown(
        "reduce-only",
        TYPES,
        "test_reduce_only_is_capped_to_the_position_when_placed",
        "test_reduce_only_shrinks_with_the_position_and_ends_when_it_is_flat",
    ),
    "X1.6": shown("client ids", TYPES, "test_a_client_id_is_used_once_also_after_its_order_ended"),
    "X1.7": shown(
        "amending",
        TYPES,
        "test_amending_and_priority",
        "test_amending_below_the_filled_amount_is_refused_and_to_it_fills_the_order",
    ),
    "X2.1": shown(
        "the market's rules",
        MARKET,
        "test_an_order_outside_the_rules_is_refused_with_the_class_ccxt_would_raise",
        "test_an_order_at_the_edge_of_the_rules_is_taken",
    ),
    "X2.2": shown("buys by cost", MARKET, "test_a_buy_by_cost_spends_at_most_that"),
    "X2.3": shown(
        "price protection",
        MARKET,
        "test_what_a_market_order_finds_beyond_the_band_is_left_and_the_remainder_canceled",
    ),
    "X2.4": shown(
        "classes of refusals",
        MARKET,
        "test_an_order_outside_the_rules_is_refused_with_the_class_ccxt_would_raise",
    ),
    "X2.5": shown("an inactive market", MARKET, "test_an_inactive_market_takes_nothing"),
    "X3.1": shown("depth", FILLING, "test_depth_is_walked_level_by_level"),
    "X3.2": shown(
        "consumed liquidity",
        FILLING,
        "test_consumed_liquidity_stays_consumed_until_its_level_is_refreshed",
    ),
    "X3.3": shown(
        "partial fills",
        TYPES,
        "test_a_limit_order_trades_what_crosses_and_rests_the_remainder",
    ),
    "X3.4": shown(
        "price, then time",
        "engine/test_matching_properties.py",
        "test_priority_equals_sorting_by_price_and_time",
    ),
    "X3.5": shown(
        "the queue",
        FILLING,
        "test_a_resting_order_waits_behind_what_was_displayed",
        "test_trades_by_the_wrong_aggressor_do_not_move_the_queue",
        "test_cancels_before_us_count_in_proportion",
        "test_a_deleted_level_clears_the_queue",
    ),
    "X3.6": shown("printed volume", FILLING, "test_fills_never_exceed_what_was_printed"),
    "X3.7": shown(
        "trade-through",
        FILLING,
        "test_a_trade_through_fills_at_the_limit_price_and_past_the_queue",
    ),
    "X3.8": shown(
        "stale and crossed books",
        FILLING,
        "test_nothing_fills_and_nothing_fires_on_a_stale_book",
        "test_nothing_fills_on_a_crossed_book",
    ),
    "X3.9": shown("self-trade", FILLING, "test_an_account_never_trades_with_itself"),
    "X4.1": shown(
        "maker, taker; tiers by volume",
        MARKET,
        "test_a_resting_order_pays_the_makers_rate",
        "test_fees_fall_with_the_traded_volume",
        "flows/test_fees.py::test_fees_fall_with_what_was_traded_and_go_on_falling_after_a_restart",
    ),
    "X4.2": shown(
        "currencies of fees",
        MARKET,
        "test_a_spot_buy_pays_in_base_and_a_sell_in_quote",
        "test_a_derivative_pays_in_its_settle_currency_on_entry_and_exit",
    ),
    "X4.3": shown("rounding of fees", MARKET, "test_a_fee_is_rounded_up_to_the_last_unit"),
    "X4.4": shown("rebates", MARKET, "test_a_rebate_is_paid_out_and_rounded_down"),
    "X4.5": shown(
        "entry and exit",
        MARKET,
        "test_a_derivative_pays_in_its_settle_currency_on_entry_and_exit",
    ),
    "X5.1": shown(
        "latency",
        PAPER,
        "test_latency_delays_the_answer_and_then_the_match",
        "test_the_same_seed_gives_the_same_delays",
    ),
    "X5.2": shown("lost races", PAPER, "test_a_cancel_that_loses_the_race_gets_the_real_error"),
    "X5.3": shown(
        "data and orders apart", PAPER, "test_market_data_does_not_wait_for_order_latency"
    ),
    "X6.1": shown(
        "free and used",
        ACCOUNTS,
        "test_a_resting_buy_holds_its_cost_and_a_sell_its_amount",
        "test_everything_is_released_to_the_last_unit",
    ),
    "X6.2": shown(
        "never below zero",
        ACCOUNTS,
        "test_more_than_is_free_is_refused_and_nothing_is_held",
        CONSERVED,
    ),
    "X6.3": shown(
        "linear perpetuals",
        PERPETUALS,
        "test_fills_net_into_one_position_with_realised_and_unrealised_profit",
        "test_a_larger_order_flips_the_position_at_its_price",
        "test_leverage_changes_the_margin_of_a_position",
        "test_isolated_collateral_is_set_apart_and_returned_with_the_position",
    ),
    "X6.4": shown(
        "liquidation",
        PERPETUALS,
        "test_the_liquidation_price_is_told_beforehand_and_is_exactly_the_condition",
        "test_liquidation_cancels_orders_then_halves_and_may_stop_there",
        "test_liquidation_closes_everything_when_half_is_not_enough",
        "test_the_insurance_pays_what_the_account_cannot",
    ),
    "X6.5": shown(
        "funding",
        PERPETUALS,
        "test_funding_falls_due_on_schedule",
        "test_funding_conserves_cash",
    ),
    "X6.6": shown("transfers", ACCOUNTS, "test_deposits_and_withdrawals_are_told_as_transfers"),
    "X7.1": shown(
        "order of events",
        STREAMS,
        "test_an_order_is_told_open_then_filled_then_balances_then_position",
    ),
    "X7.2": shown("one sequence", STREAMS, "test_each_account_has_one_sequence_without_holes"),
    "X7.3": shown(
        "ids of fills",
        STREAMS,
        "test_fills_have_ids_that_stay_and_can_be_asked_for_again",
    ),
    "X7.4": shown(
        "snapshot and events", STREAMS, "test_the_fold_of_all_events_is_what_can_be_read"
    ),
    "X7.5": shown(
        "the public tape",
        STREAMS,
        "test_both_sides_of_a_trade_carry_the_id_of_the_public_print",
    ),
    "X8.1": shown("refuse", CHAOS, "test_refuse_never_reaches_the_venue"),
    "X8.2": shown("lost before", CHAOS, "test_lost_before_is_unknown_and_nothing_happened"),
    "X8.3": shown(
        "lost after",
        CHAOS,
        "test_lost_after_is_unknown_and_nothing_is_heard_until_it_is_looked_up",
    ),
    "X8.4": shown("visible late", CHAOS, "test_visible_late_answers_but_cannot_be_found_at_first"),
    "X8.5": shown(
        "events twice, reordered, dropped",
        CHAOS,
        "test_duplicated_events_come_twice",
        "test_reordered_events_are_the_same_events",
        "test_dropped_events_are_gone_but_reading_tells_them",
    ),
    "X8.6": shown(
        "disconnected, half open",
        CHAOS,
        "test_a_broken_connection_is_told_and_so_is_its_return",
        "test_half_open_says_nothing_at_all",
    ),
    "X8.7": shown("rate limit", CHAOS, "test_the_rate_limit_says_when_to_come_back"),
    "X8.8": shown(
        "a bad body", CHAOS, "test_a_bad_body_to_an_order_is_unknown_and_the_order_is_there"
    ),
    "X8.9": shown(
        "a frozen feed",
        CHAOS,
        "test_a_frozen_feed_of_one_symbol_leaves_others_and_the_account",
    ),
    "X8.10": shown("clock offset", CHAOS, "test_a_clock_offset_shows_in_answers"),
    "X8.11": shown(
        "maintenance",
        "venues/test_contract.py",
        "test_c35_to_c44_paper_a_fault_has_its_class_and_the_truth_is_found_afterwards",
    ),
    "X9.1": shown(
        "equal runs",
        STREAMS,
        "test_two_runs_are_equal_to_the_byte",
        "test_runs_are_equal_across_processes_and_hash_seeds",
    ),
    "X9.2": shown(
        "no clock of its own",
        "venues/test_market.py",
        "test_two_markets_of_one_seed_are_equal_event_by_event",
    ),
    "X9.3": shown(
        "snapshot and restore",
        STREAMS,
        "test_a_restored_snapshot_goes_on_as_if_nothing_had_happened",
    ),
    "X9.4": shown("conservation", STREAMS, "test_nothing_is_created_or_lost", CONSERVED),
    "X9.5": shown(
        "accounts apart",
        ACCOUNTS,
        "test_one_account_does_not_feel_another_but_through_the_book",
    ),
}
"""Behaviour of the paper exchange, X1 to X9."""
