"""Which test shows which item of the checklist (functional specification, section 8).

`python -m tests.items` writes docs/coverage.md; tests/test_items.py fails when an item has lost a test.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.conformance import EXCHANGE, PROTOCOL, Shown


ROOT: Final = Path(__file__).parent.parent
DOCUMENT: Final = ROOT / "docs" / "coverage.md"
LAST: Final = 87
AGAIN: Final = "run `python -m tests.items`"


class Item(NamedTuple):
    """One item.

    Attributes:
        what: In our words.
        tests: Node ids below `tests/`, without parameters.
        open: Why an item has no test yet, or never will; None where tests show all of it.
    """

    what: str
    tests: tuple[str, ...] = ()
    open: str | None = None


ITEMS: Final[dict[int, Item]] = {
    1: Item(
        "health of the process",
        (
            "commands/test_system.py::test_health_is_for_everybody_over_http",
            "server/test_http.py::test_health_follows_the_loop_and_readiness_the_reasons",
        ),
    ),
    2: Item(
        "status of the system",
        ("flows/test_items.py::test_s1_s2_health_and_status_are_told_and_pushed",),
    ),
    3: Item(
        "origins, errors, log",
        (
            "server/test_ws.py::test_06_foreign_null_and_look_alike_origins_are_403",
            "server/test_http.py::test_53_every_code_has_its_status_and_is_the_same_as_over_a_socket",
            "commands/test_account_ops.py::test_log_lines_are_kept_by_level_and_component",
        ),
    ),
    4: Item(
        "typed arguments",
        ("commands/test_params.py::test_any_arguments_are_taken_or_refused_with_fields",),
    ),
    5: Item("balances", ("commands/test_account_ops.py::test_balances_have_their_value",)),
    6: Item("one balance", ("commands/test_account_ops.py::test_balances_have_their_value",)),
    7: Item("orders", ("commands/test_order_ops.py::test_lists_filter_and_page",)),
    8: Item(
        "one order",
        (
            "desk/test_orders.py::test_an_order_is_found_by_its_ids_with_its_fills_also_when_it_has_ended",
        ),
    ),
    9: Item(
        "placing, and saying what would become of it",
        (
            "flows/test_day.py::test_an_order_fills_on_every_socket_and_all_is_there_after_a_kill",
            "commands/test_order_ops.py::test_a_preview_and_a_placement_are_judged_alike",
        ),
    ),
    10: Item(
        "canceling one and all",
        (
            "desk/test_orders.py::test_a_cancel_is_answered_by_the_end_of_the_order",
            "commands/test_order_ops.py::test_cancel_all_can_be_narrowed",
        ),
    ),
    11: Item(
        "history of orders and fills",
        (
            "commands/test_order_ops.py::test_a_cursor_that_no_page_of_the_journal_gave_is_refused",
            "commands/test_order_ops.py::test_fills_are_listed_newest_first",
        ),
    ),
    12: Item(
        "the order ledger, end to end",
        (
            "engine/test_machine_orders.py::test_no_order_is_doubled_lost_or_believed_dead",
            "desk/test_crash.py::test_killed_at_every_boundary_nothing_acknowledged_is_lost_and_nothing_doubled",
            "flows/test_kill.py::test_a_few_kills_under_load_lose_and_double_nothing",
        ),
    ),
    13: Item(
        "strategies that can be tested",
        (
            "flows/test_items.py::test_s13_strategies_that_can_be_tested",
            "commands/test_backtest.py::test_strategies_are_listed_with_their_schemas",
        ),
    ),
    14: Item(
        "running a backtest",
        (
            "flows/test_items.py::test_s14_s15_a_backtest_is_run_watched_and_read",
            "commands/test_backtest.py::test_a_canceled_backtest_ends_its_worker_and_waits_for_nothing",
        ),
    ),
    15: Item(
        "results of a backtest",
        (
            "flows/test_items.py::test_s14_s15_a_backtest_is_run_watched_and_read",
            "commands/test_backtest.py::test_a_backtest_is_run_shown_and_read_page_by_page",
            "commands/test_backtest.py::test_results_outlive_a_restart_and_what_ran_is_interrupted",
        ),
    ),
    16: Item(
        "searching parameters",
        (
            "flows/test_items.py::test_s16_a_search_shows_what_its_best_made_outside",
            "commands/test_backtest.py::test_a_search_puts_out_of_sample_beside_in_sample",
        ),
    ),
    17: Item(
        "configuration, read and changed",
        (
            "flows/test_items.py::test_s17_s18_configuration_is_read_summed_up_and_changed",
            "commands/test_config_http.py::test_paths_of_the_original_read_and_change",
            "commands/test_config_ops.py::test_the_channel_has_what_is_in_force_and_what_changed",
        ),
    ),
    18: Item(
        "its summary",
        (
            "flows/test_items.py::test_s17_s18_configuration_is_read_summed_up_and_changed",
            "commands/test_config_ops.py::test_the_summary_has_the_main_figures",
        ),
    ),
    19: Item(
        "strategies in use and their weights",
        (
            "flows/test_items.py::test_s19_s20_strategies_have_parameters_and_weights_that_sum_to_one",
            "commands/test_config_ops.py::test_strategies_are_shown_with_weights_that_sum_to_one",
        ),
    ),
    20: Item(
        "parameters and weight of one strategy",
        (
            "flows/test_items.py::test_s19_s20_strategies_have_parameters_and_weights_that_sum_to_one",
            "commands/test_config_ops.py::test_parameters_of_a_strategy_are_those_it_runs_with",
            "commands/test_config_ops.py::test_the_others_make_room_for_a_weight",
        ),
    ),
    21: Item(
        "thresholds of probabilities",
        (
            "flows/test_items.py::test_s21_s22_thresholds_are_set_and_mistakes_named_by_their_path",
            "commands/test_config_ops.py::test_thresholds_of_signals_and_of_the_gate_are_set_together",
        ),
    ),
    22: Item(
        "validating a configuration",
        (
            "flows/test_items.py::test_s21_s22_thresholds_are_set_and_mistakes_named_by_their_path",
            "desk/test_config.py::test_what_is_wrong_is_named_by_its_path_and_changes_nothing",
        ),
    ),
    23: Item(
        "reading the file again",
        (
            "flows/test_items.py::test_s23_the_file_is_read_again_and_a_broken_one_changes_nothing",
            "desk/test_config.py::test_the_file_makes_the_first_version_and_is_applied_again_on_reload",
            "desk/test_config.py::test_a_broken_file_keeps_what_is_in_force_and_raises_an_alarm",
        ),
    ),
    24: Item(
        "configuration that is asynchronous, versioned and kept",
        (
            "desk/test_config.py::test_of_two_who_read_the_same_version_the_second_is_refused",
            "desk/test_config.py::test_the_book_survives_a_restart_and_the_engine_rules_over_limits",
        ),
    ),
    25: Item(
        "positions",
        ("commands/test_account_ops.py::test_positions_are_listed_found_and_valued",),
    ),
    26: Item(
        "status of bots",
        (
            "flows/test_items.py::test_s26_to_s30_a_bot_trades_and_is_controlled",
            "flows/test_bots.py::test_a_bot_is_started_watched_and_stopped_and_a_silent_program_loses_its_orders",
        ),
    ),
    27: Item(
        "starting a bot",
        (
            "flows/test_items.py::test_s26_to_s30_a_bot_trades_and_is_controlled",
            "commands/test_bot.py::test_a_whole_life_buys_on_a_closed_bar_holds_sells_and_stops",
        ),
    ),
    28: Item(
        "stopping a bot",
        (
            "flows/test_items.py::test_s26_to_s30_a_bot_trades_and_is_controlled",
            "commands/test_bot.py::test_stopping_can_close_what_the_bot_holds_and_nothing_else",
        ),
    ),
    29: Item(
        "everything else that controls a bot",
        (
            "flows/test_items.py::test_s26_to_s30_a_bot_trades_and_is_controlled",
            "commands/test_bot.py::test_paused_it_enters_nothing_and_still_closes",
            "commands/test_bot.py::test_an_emergency_stop_halts_one_bot_over_a_restart_until_rearmed",
            "commands/test_bot.py::test_metrics_are_reset_and_health_is_told",
        ),
    ),
    30: Item(
        "the trading cycle, end to end",
        (
            "flows/test_items.py::test_s26_to_s30_a_bot_trades_and_is_controlled",
            "commands/test_bot.py::test_a_whole_life_buys_on_a_closed_bar_holds_sells_and_stops",
            "commands/test_bot.py::test_why_a_cycle_does_nothing",
        ),
    ),
    31: Item(
        "bars",
        (
            "commands/test_market_ops.py::test_bars_come_with_their_gaps_and_pages",
            "commands/test_market_ops.py::test_a_chart_joins_history_and_live_trades_and_closes_in_time",
        ),
    ),
    32: Item(
        "order book", ("commands/test_market_ops.py::test_tickers_and_books_are_told_in_full",)
    ),
    33: Item("ticker", ("commands/test_market_ops.py::test_tickers_and_books_are_told_in_full",)),
    34: Item(
        "public trades",
        ("commands/test_market_ops.py::test_markets_limits_trades_and_venues_are_told",),
    ),
    35: Item(
        "markets", ("commands/test_market_ops.py::test_markets_limits_trades_and_venues_are_told",)
    ),
    36: Item(
        "status of the exchange",
        (
            "commands/test_market_ops.py::test_markets_limits_trades_and_venues_are_told",
            "server/test_ws.py::test_33_a_heartbeat_tells_the_age_of_every_venue",
        ),
    ),
    37: Item(
        "the exchange is started by the composition root",
        (
            "desk/test_reconcile.py::test_nothing_but_cancels_and_halts_before_the_account_is_reconciled",
        ),
    ),
    38: Item(
        "market context and its check",
        (
            "flows/test_items.py::test_s38_a_market_is_looked_at_as_a_whole_and_checked",
            "commands/test_bot.py::test_without_bars_the_market_is_not_fit",
        ),
    ),
    39: Item(
        "fair value gaps",
        (
            "flows/test_items.py::test_s39_gaps_are_found_and_told_live",
            "desk/test_indicators.py::test_zones_are_those_of_a_plain_loop_and_a_look_fills_none",
        ),
    ),
    40: Item(
        "nonces",
        (
            "venues/ccxt/test_nonces.py::test_a_clock_set_back_repeats_nothing_not_even_after_a_restart",
            "venues/ccxt/test_calls.py::test_signed_requests_go_one_at_a_time_and_their_numbers_rise_over_restarts",
            "venues/ccxt/test_calls.py::test_a_refused_number_skips_ahead_and_only_a_read_is_sent_again",
            "commands/test_monitoring_ops.py::test_a_server_without_keys_shows_none",
        ),
    ),
    41: Item(
        "the cache and what it saves",
        (
            "flows/test_items.py::test_s41_s76_the_server_counts_what_it_does",
            "desk/test_cache.py::test_of_many_who_ask_at_a_time_one_asks_the_venue",
            "commands/test_exchange_told.py::test_the_accounts_own_fees_are_asked_for_once_and_kept",
        ),
    ),
    42: Item(
        "where market data comes from",
        (
            "flows/test_upstream.py::test_paper_on_live_prices_tells_what_comes_from_the_exchange",
            "flows/test_upstream.py::test_a_live_account_counts_its_own_streams_and_its_own_way",
        ),
    ),
    43: Item(
        "assessment of positions, orders, exposure",
        (
            "flows/test_items.py::test_s43_s49_the_account_is_assessed",
            "commands/test_odds.py::test_the_assessment_shows_value_at_risk_of_what_is_held",
            "engine/test_assessment.py::test_g23_the_total_score_is_half_the_worst_and_half_the_mean",
        ),
    ),
    44: Item(
        "validating an order, with and without probabilities",
        (
            "flows/test_items.py::test_s44_an_order_is_judged_with_and_without_probabilities_and_the_gate_agrees",
            "commands/test_odds.py::test_an_order_on_a_doubtful_signal_is_refused_and_its_preview_agrees",
        ),
    ),
    45: Item(
        "score of a signal",
        (
            "flows/test_items.py::test_s45_s47_a_signal_is_scored_and_its_chances_told",
            "commands/test_odds.py::test_g10_a_signal_is_scored",
        ),
    ),
    46: Item(
        "stop and target by probabilities",
        (
            "flows/test_items.py::test_s46_s50_stops_and_sizes_follow_the_probabilities",
            "commands/test_odds.py::test_g17_stop_and_target_of_an_entry",
            "commands/test_odds.py::test_stops_by_true_range_and_by_the_last_extreme",
        ),
    ),
    47: Item(
        "model of outcomes",
        (
            "flows/test_items.py::test_s45_s47_a_signal_is_scored_and_its_chances_told",
            "commands/test_odds.py::test_the_chances_of_a_trade_are_told",
            "engine/test_outcome.py::test_g24_target_before_stop_with_and_without_drift",
        ),
    ),
    48: Item(
        "weighing signals of strategies",
        (
            "flows/test_items.py::test_s48_s54_opinions_are_combined_by_their_weights",
            "engine/test_combine.py::test_g18_the_weighted_average_leaves_out_who_is_not_sure_enough",
            "engine/test_combine.py::test_g19_a_majority_votes_with_its_weights",
        ),
    ),
    49: Item(
        "level of risk",
        (
            "flows/test_items.py::test_s43_s49_the_account_is_assessed",
            "engine/test_assessment.py::test_g22_points_make_the_level",
            "engine/test_combine.py::test_a_level_begins_at_its_bound",
        ),
    ),
    50: Item(
        "size of a position",
        (
            "flows/test_items.py::test_s46_s50_stops_and_sizes_follow_the_probabilities",
            "commands/test_odds.py::test_g11_and_g13_a_position_is_sized_and_the_gate_agrees",
            "commands/test_odds.py::test_every_method_has_its_factors",
        ),
    ),
    51: Item(
        "parameters of risk",
        (
            "flows/test_items.py::test_s51_s52_parameters_change_by_version_and_the_day_is_told",
            "commands/test_odds.py::test_loosening_what_signals_must_reach_needs_an_admin",
            "desk/test_config.py::test_limits_have_one_truth_whoever_changes_them",
        ),
    ),
    52: Item(
        "profit and loss of the day, kept over restarts",
        (
            "commands/test_account_ops.py::test_the_day_is_told_and_started_anew",
            "flows/test_items.py::test_s51_s52_parameters_change_by_version_and_the_day_is_told",
        ),
    ),
    53: Item(
        "allocating by risk profile and market",
        (
            "flows/test_items.py::test_s53_capital_is_allocated_by_risk_profile",
            "commands/test_portfolio.py::test_g20_allocates_what_signals_buy",
            "commands/test_portfolio.py::test_symbols_are_weighed_by_their_history",
        ),
    ),
    54: Item(
        "processing signals by weighted mean",
        (
            "flows/test_items.py::test_s48_s54_opinions_are_combined_by_their_weights",
            "commands/test_portfolio.py::test_g18_signals_are_combined_by_symbol",
            "commands/test_portfolio.py::test_signals_are_carried_out_once",
        ),
    ),
    55: Item(
        "status and diversification of the portfolio",
        (
            "flows/test_items.py::test_s55_the_portfolio_has_a_status_and_a_spread",
            "commands/test_portfolio.py::test_status_tells_all_in_one",
        ),
    ),
    56: Item(
        "rebalancing",
        (
            "flows/test_items.py::test_s56_a_rebalance_is_planned_carried_out_and_not_repeated",
            "desk/test_rebalance.py::test_sells_come_first_and_the_weights_are_reached",
            "desk/test_rebalance.py::test_a_restart_goes_on_with_a_young_plan_and_sends_nothing_twice",
        ),
    ),
    57: Item(
        "models of requests of risk and portfolio",
        (
            "flows/test_items.py::test_s57_arguments_are_models_that_name_the_field",
            "commands/test_portfolio.py::test_what_cannot_be_allocated_is_refused_by_name",
        ),
    ),
    58: Item(
        "snapshot of the portfolio",
        (
            "flows/test_items.py::test_s58_s59_s60_the_portfolio_is_valued_its_past_judged_and_a_trade_checked",
            "commands/test_account_ops.py::test_the_portfolio_is_valued_and_its_past_is_kept",
        ),
    ),
    59: Item(
        "performance of the portfolio",
        (
            "flows/test_items.py::test_s58_s59_s60_the_portfolio_is_valued_its_past_judged_and_a_trade_checked",
            "commands/test_portfolio.py::test_a_deposit_is_no_return",
            "engine/test_performance.py::test_g31_takes_a_deposit_out_of_the_return",
        ),
    ),
    60: Item(
        "validating a trade against balances",
        (
            "flows/test_items.py::test_s58_s59_s60_the_portfolio_is_valued_its_past_judged_and_a_trade_checked",
            "commands/test_portfolio.py::test_g30_says_what_a_trade_needs_and_what_fits",
        ),
    ),
    61: Item(
        "the trading window",
        (
            "flows/test_items.py::test_s61_a_window_closes_a_bot_and_is_shown_with_it",
            "commands/test_config_ops.py::test_a_bot_has_hours_and_a_count_of_its_own",
            "commands/test_bot.py::test_a_trade_limit_a_day_is_kept_over_a_restart",
        ),
    ),
    62: Item(
        "the account's own stream",
        (
            "desk/test_feeds.py::test_of_a_batch_every_fill_is_shown_and_the_last_row_of_its_order",
            "desk/test_orders.py::test_a_balance_does_not_overtake_the_fill_it_comes_from",
        ),
    ),
    63: Item(
        "the socket, and the page on it",
        (
            "server/test_ws.py::test_01_welcome_comes_first_and_has_every_field",
            "protocol/test_transcripts.py::test_57_the_transcript_is_true",
            "web/test_real.py::test_every_symbol_shows_book_chart_and_tape_that_agree",
        ),
    ),
    64: Item(
        "risk and portfolio live over the socket",
        (
            "flows/test_items.py::test_s43_s49_the_account_is_assessed",
            "flows/test_items.py::test_s55_the_portfolio_has_a_status_and_a_spread",
            "hub/test_delivery.py::test_at_rest_every_client_holds_what_the_server_holds_whatever_happened",
        ),
    ),
    65: Item(
        "trouble of the exchange's socket",
        (
            "commands/test_market_ops.py::test_a_silent_venue_is_stale_and_a_quiet_one_is_not",
            "venues/ccxt/test_public.py::test_a_closed_socket_is_dialled_again_and_no_trade_between_is_lost",
            "venues/ccxt/test_public.py::test_streams_that_a_venue_has_not_are_polled",
        ),
    ),
    66: Item(
        "constructor arguments instead of a container",
        ("test_app.py::test_a_signal_ends_it_with_zero",),
    ),
    67: Item(
        "ordered start, bounded stop",
        ("flows/test_day.py::test_sigterm_says_goodbye_and_ends_with_zero",),
    ),
    68: Item(
        "no singletons of modules",
        ("commands/test_account_ops.py::test_a_system_leaves_the_level_of_the_log_as_it_found_it",),
    ),
    69: Item(
        "a paper exchange that is chosen, never a fallback",
        ("desk/test_orders.py::test_a_venue_that_is_not_there_leaves_nothing_unknown",),
    ),
    70: Item(
        "shared state is owned by one loop",
        (
            "desk/test_halt.py::test_of_a_thousand_placements_racing_a_halt_none_goes_out_after_its_reply",
        ),
    ),
    71: Item(
        "asynchronous clients of exchanges",
        (
            "flows/test_live_prices.py::test_an_account_trades_at_the_exchange_s_prices_and_never_without_them",
            "venues/ccxt/test_account.py::test_orders_fills_and_money_agree_order_by_order_and_fill_by_fill",
        ),
    ),
    72: Item(
        "caching",
        (
            "desk/test_cache.py::test_an_answer_is_kept_as_long_as_its_kind",
            "desk/test_cache.py::test_orders_and_fills_make_old_what_they_change",
        ),
        "Redis is not in a first release",
    ),
    73: Item(
        "rate limits of the exchange",
        (
            "desk/test_lanes.py::test_a_fifth_of_the_calls_is_kept_for_stopping",
            "venues/ccxt/test_way.py::test_no_stretch_of_time_holds_more_than_a_window",
            "venues/ccxt/test_calls.py::test_a_cancel_behind_a_hundred_polls_leaves_within_a_tenth_of_a_second",
        ),
    ),
    74: Item(
        "performance is measured",
        ("bench/test_bench.py::test_a_small_w1_serves_everybody_with_every_contestant",),
    ),
    75: Item(
        "containers",
        (
            "test_container.py::test_it_runs_as_nobody_with_one_port_and_one_volume",
            "test_container.py::test_it_names_no_address_and_every_install_is_locked",
            "test_container.py::test_its_health_is_that_the_server_is_ready",
        ),
        "an image was never built: there is no Docker here",
    ),
    76: Item(
        "health checks and monitoring",
        (
            "flows/test_items.py::test_s41_s76_the_server_counts_what_it_does",
            "server/test_http.py::test_health_follows_the_loop_and_readiness_the_reasons",
            "commands/test_monitoring_ops.py::test_the_channel_is_published_every_five_seconds",
            "server/test_telemetry.py::test_a_scraper_reads_the_figures_of_the_ops_over_http",
        ),
    ),
    77: Item(
        "settings from the environment",
        (
            "test_app.py::test_flags_go_over_the_environment_and_that_over_the_file",
            "test_app.py::test_settings_that_are_wrong_name_the_place",
        ),
    ),
    78: Item(
        "tokens and scopes",
        (
            "server/test_ws.py::test_10_every_op_with_every_scope_is_judged_alike_on_socket_and_http",
            "server/test_auth.py::test_revoking_ends_everything_of_a_token",
            "flows/test_tokens.py::test_a_token_may_what_it_was_made_for_until_it_is_revoked_and_a_kill_changes_nothing",
        ),
    ),
    79: Item(
        "the page",
        (
            "web/test_real.py::test_orders_fill_cancel_and_survive_kill_9_on_the_page",
            "web/test_stories_server.py::test_1_a_fresh_page_shows_mode_price_venue_and_equity_at_once",
            "web/test_stories_server.py::test_5_6_a_limit_order_is_one_whatever_the_gesture_and_shows_in_table_chart_and_book",
        ),
    ),
    80: Item(
        "integration tests with clients",
        (
            "client/test_real.py::test_a_trading_client_lives_on_over_a_kill_of_the_server",
            "protocol/test_transcripts.py::test_57_the_transcript_is_true",
        ),
    ),
    81: Item(
        "OpenAPI and AsyncAPI",
        (
            "server/test_schema.py::test_openapi_has_every_op_that_http_has_and_every_alias",
            "server/test_schema.py::test_asyncapi_has_an_operation_with_reply_per_op_and_a_message_per_type",
            "server/test_schemathesis.py::test_the_examples_of_the_document_are_answered_as_it_says",
        ),
    ),
    82: Item(
        "errors are the same everywhere",
        (
            "server/test_http.py::test_53_every_code_has_its_status_and_is_the_same_as_over_a_socket",
            "commands/test_registry.py::test_the_families_of_errors_are_replies",
        ),
    ),
    83: Item(
        "log of asynchronous work",
        (
            "commands/test_registry.py::test_an_unexpected_exception_is_internal_with_one_log_line",
            "commands/test_account_ops.py::test_log_lines_are_kept_by_level_and_component",
        ),
    ),
    84: Item(
        "tests of every op over every way in",
        (
            "server/test_http.py::test_53_every_op_gives_the_same_result_over_http",
            "server/test_ws.py::test_32_whatever_is_sent_gets_a_coded_reply",
        ),
    ),
    85: Item(
        "an asynchronous database",
        (
            "store/test_append.py::test_what_waits_is_committed_together_and_told_in_one_step",
            "store/test_kill.py::test_no_acknowledged_row_is_lost_to_a_kill",
        ),
    ),
    86: Item("two servers side by side", (), "does not apply: one server, one port"),
    87: Item("learned risk", (), "does not apply: not in a first release"),
}


def tests_of(path: Path) -> set[str]:
    """Names of the tests in a file."""
    tree = ast.parse(path.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def missing(items: Iterable[Item | Shown]) -> list[str]:
    """Tests that are named and do not exist."""
    found: dict[str, set[str]] = {}
    gone = []
    for name in (name for item in items for name in item.tests):
        file, _, test = name.partition("::")
        path = ROOT / "tests" / file
        if file not in found:
            found[file] = tests_of(path) if path.exists() else set()
        if test not in found[file]:
            gone.append(name)
    return gone


def document() -> str:
    """Write the table."""
    lines = [
        "# Which test shows which item",
        "",
        (
            "Every item of the checklist (S1 to S87), and the tests that show it. Written by"
            " `python -m tests.items`; `make check` fails when a test is gone."
        ),
        "",
        "| item | what | shown by |",
        "|---|---|---|",
    ]
    for number, item in sorted(ITEMS.items()):
        shown = [f"`tests/{name}`" for name in item.tests]
        if item.open is not None:
            shown.append(f"open: {item.open}")
        lines.append(f"| S{number} | {item.what} | {'<br>'.join(shown)} |")
    lines += [
        "",
        "## Conformance of the protocol",
        "",
        "The items of [the protocol, section 13](protocol.md#13-conformance-tests).",
        "",
        *_rows({str(number): shown for number, shown in sorted(PROTOCOL.items())}),
        "",
        "## Behaviour of the paper exchange",
        "",
        (
            "Types (X1), rules of the market (X2), filling (X3), fees (X4), latency (X5), accounts (X6), streams (X7),"
            " faults on request (X8), determinism (X9)."
        ),
        "",
        *_rows(EXCHANGE),
    ]
    return "\n".join(lines) + "\n"


def _rows(items: Mapping[str, Shown]) -> Iterator[str]:
    yield "| item | what | shown by |"
    yield "|---|---|---|"
    for name, item in items.items():
        yield f"| {name} | {item.what} | {'<br>'.join(f'`tests/{test}`' for test in item.tests)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
