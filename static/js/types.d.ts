// Generated from the registry by realtime/server/typescript.py; a test generates it again.

export type Code = 'bad_request' | 'invalid' | 'unknown_op' | 'unknown_channel' | 'not_found' | 'unauthorized' | 'forbidden' | 'conflict' | 'mode_mismatch' | 'expired' | 'confirm_required' | 'rate_limited' | 'busy' | 'halted' | 'risk_rejected' | 'insufficient_funds' | 'venue_rejected' | 'not_supported' | 'venue_unavailable' | 'outcome_unknown' | 'internal';
export type NoticeEvent = 'stale' | 'shutdown' | 'auth_expiring' | 'unsubscribed' | 'deadman_fired' | 'order_resolved';
export type Reason = 'subscribe' | 'resume_failed' | 'lag' | 'upstream' | 'reset';
export type Topic = 'ticker' | 'orderbook' | 'trades' | 'ohlcv' | 'markets' | 'orders' | 'fills' | 'positions' | 'balances' | 'risk' | 'portfolio' | 'events' | 'alerts' | 'logs' | 'status';
export type Position = { epoch: string; seq: number };
export type At = Record<string, Position>;
export interface WireError { code: Code; message: string; outcome: 'not_done' | 'unknown'; retry_after?: number; details?: Record<string, unknown> }

export interface Welcome { type: 'welcome'; v: 1; server: string; session: string; ts: number; mode: 'paper' | 'live'; trading_state: 'active' | 'reducing' | 'halted' | null; venues: Array<Record<string, unknown>>; auth: 'ok' | 'optional' | 'required'; subject?: string | null; role?: string | null; scopes?: Array<string> | null; client: string; batch?: boolean; every?: number; heartbeat?: number; reconnect?: Record<string, unknown>; features?: Array<string>; limits?: Record<string, unknown> }
export interface Reply { type: 'reply'; id?: number | string; op?: string; ok: boolean; ts: number; result?: Record<string, unknown>; error?: WireError; at?: Record<string, Position> }
export interface Snapshot { type: 'snapshot'; channel: string; seq: number; ts: number; asof?: number; checksum?: number; data: unknown; epoch: string; reason: 'subscribe' | 'resume_failed' | 'lag' | 'upstream' | 'reset'; lost?: number }
export interface Update { type: 'update'; channel: string; seq: number; ts: number; asof?: number; checksum?: number; data: unknown }
export interface Notice { type: 'notice'; event: 'stale' | 'shutdown' | 'auth_expiring' | 'unsubscribed' | 'deadman_fired' | 'order_resolved'; ts: number; channels?: Array<string>; data: Record<string, unknown> }
export interface Heartbeat { type: 'heartbeat'; ts: number; asof: Record<string, number | null> }
export type Message = Welcome | Reply | Snapshot | Update | Notice | Heartbeat;

export type Action = 'cancel' | 'cancel_and_halt';
export type AmendItem = { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; order_id?: string | null; client_order_id?: string | null; amount?: string | null; price?: string | null; stop_price?: string | null; stop_loss?: string | TriggerParams | null; take_profit?: string | TriggerParams | null; do: 'amend' };
export type CancelItem = { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; order_id?: string | null; client_order_id?: string | null; do: 'cancel' };
export type ChannelParams = { channel: string; since?: SinceParams | null; snapshot?: boolean };
export type FaultPart = { kind: string; symbol?: string | null; probability?: number; duration_s?: number | null; times?: number | null };
export type OrderType = 'market' | 'limit' | 'stop' | 'stop_limit' | 'take_profit' | 'take_profit_limit' | 'trailing_stop';
export type PlaceItem = { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; symbol: string; side: Side; type: OrderType; amount?: string | null; cost?: string | null; price?: string | null; stop_price?: string | null; trailing_amount?: string | null; trailing_rate?: string | null; trailing_fraction?: string | null; trigger_by?: TriggerBy | null; time_in_force?: 'GTC' | 'IOC' | 'FOK' | 'PO' | 'GTD'; good_till_ts?: number | string | null; post_only?: boolean; reduce_only?: boolean; position_type?: 'spot' | 'margin' | 'swap' | null; leverage?: string | null; stop_loss?: string | TriggerParams | null; take_profit?: string | TriggerParams | null; protection?: 'native' | null; client_order_id?: string | null; allow_duplicate?: boolean; bot_id?: string | null; strategy_id?: string | null; do: 'place' };
export type Scope = 'client' | 'account';
export type Side = 'buy' | 'sell';
export type SinceParams = { epoch: string; seq: number };
export type TriggerBy = 'last' | 'mark' | 'bid_ask';
export type TriggerParams = { price: string; limit?: string | null };

export interface Arguments {
  'alert.ack': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; alert_id: string };
  'alert.list': { mode?: 'paper' | 'live' | null; level?: 'info' | 'warning' | 'error' | 'critical' | null; acked?: boolean | null; since?: number | string | null; until?: number | string | null; limit?: number; cursor?: string | null };
  'auth': { mode?: 'paper' | 'live' | null; token: string };
  'auth.login': { mode?: 'paper' | 'live' | null; token?: string | null; ticket?: string | null };
  'auth.logout': { mode?: 'paper' | 'live' | null };
  'auth.ticket': { mode?: 'paper' | 'live' | null };
  'balance.get': { mode?: 'paper' | 'live' | null; currency: string; wallet?: 'spot' | 'margin' | 'funding' | 'swap' | null };
  'balance.list': { mode?: 'paper' | 'live' | null; nonzero?: boolean; wallet?: 'spot' | 'margin' | 'funding' | 'swap' | null };
  'bye': { mode?: 'paper' | 'live' | null };
  'deadman': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; timeout?: number | null; grace?: number | null; scope?: Scope; action?: Action; include_protection?: boolean };
  'event.list': { mode?: 'paper' | 'live' | null; type?: string | null; bot_id?: string | null; since?: number | string | null; until?: number | string | null; limit?: number; cursor?: string | null };
  'fill.list': { mode?: 'paper' | 'live' | null; symbol?: string | null; order_id?: string | null; since?: number | string | null; until?: number | string | null; limit?: number; cursor?: string | null };
  'help': { mode?: 'paper' | 'live' | null; about?: string | null };
  'log.tail': { mode?: 'paper' | 'live' | null; level?: 'debug' | 'info' | 'warning' | 'error' | 'critical'; component?: string | null; limit?: number };
  'market.get': { mode?: 'paper' | 'live' | null; symbol: string };
  'market.limits': { mode?: 'paper' | 'live' | null; symbol?: string | null };
  'market.list': { mode?: 'paper' | 'live' | null; active?: boolean | null; quote?: string | null; type?: 'spot' | 'swap' | 'future' | 'option' | 'margin' | null };
  'market.ohlcv': { mode?: 'paper' | 'live' | null; symbol: string; timeframe?: '1m' | '5m' | '15m' | '1h' | '4h' | '1d'; since?: number | string | null; until?: number | string | null; limit?: number; cursor?: string | null };
  'market.orderbook': { mode?: 'paper' | 'live' | null; symbol: string; limit?: number };
  'market.status': { mode?: 'paper' | 'live' | null; venue?: string | null };
  'market.ticker': { mode?: 'paper' | 'live' | null; symbol: string };
  'market.tickers': { mode?: 'paper' | 'live' | null; symbols?: Array<string> | null };
  'market.trades': { mode?: 'paper' | 'live' | null; symbol: string; limit?: number; since?: number | string | null };
  'monitoring.connections': { mode?: 'paper' | 'live' | null };
  'order.adopt': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; order_id: string; bot_id?: string | null };
  'order.amend': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; order_id?: string | null; client_order_id?: string | null; amount?: string | null; price?: string | null; stop_price?: string | null; stop_loss?: string | TriggerParams | null; take_profit?: string | TriggerParams | null };
  'order.batch': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; items: Array<PlaceItem | AmendItem | CancelItem> };
  'order.cancel': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; order_id?: string | null; client_order_id?: string | null };
  'order.cancel_all': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; symbol?: string | null; bot_id?: string | null; side?: Side | null; venue?: string | null };
  'order.get': { mode?: 'paper' | 'live' | null; order_id?: string | null; client_order_id?: string | null };
  'order.history': { mode?: 'paper' | 'live' | null; symbol?: string | null; since?: number | string | null; until?: number | string | null; limit?: number; cursor?: string | null };
  'order.list': { mode?: 'paper' | 'live' | null; status?: 'open' | 'pending' | 'unknown' | 'filled' | 'canceled' | 'rejected' | 'expired' | 'all'; symbol?: string | null; bot_id?: string | null; limit?: number; cursor?: string | null };
  'order.place': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; symbol: string; side: Side; type: OrderType; amount?: string | null; cost?: string | null; price?: string | null; stop_price?: string | null; trailing_amount?: string | null; trailing_rate?: string | null; trailing_fraction?: string | null; trigger_by?: TriggerBy | null; time_in_force?: 'GTC' | 'IOC' | 'FOK' | 'PO' | 'GTD'; good_till_ts?: number | string | null; post_only?: boolean; reduce_only?: boolean; position_type?: 'spot' | 'margin' | 'swap' | null; leverage?: string | null; stop_loss?: string | TriggerParams | null; take_profit?: string | TriggerParams | null; protection?: 'native' | null; client_order_id?: string | null; allow_duplicate?: boolean; bot_id?: string | null; strategy_id?: string | null };
  'order.preview': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; symbol: string; side: Side; type: OrderType; amount?: string | null; cost?: string | null; price?: string | null; stop_price?: string | null; trailing_amount?: string | null; trailing_rate?: string | null; trailing_fraction?: string | null; trigger_by?: TriggerBy | null; time_in_force?: 'GTC' | 'IOC' | 'FOK' | 'PO' | 'GTD'; good_till_ts?: number | string | null; post_only?: boolean; reduce_only?: boolean; position_type?: 'spot' | 'margin' | 'swap' | null; leverage?: string | null; stop_loss?: string | TriggerParams | null; take_profit?: string | TriggerParams | null; protection?: 'native' | null; client_order_id?: string | null; allow_duplicate?: boolean; bot_id?: string | null; strategy_id?: string | null };
  'order.resolve': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; order_id: string; status: 'open' | 'filled' | 'canceled' | 'rejected' | 'expired'; filled?: string | null; reason: string };
  'pace': { mode?: 'paper' | 'live' | null; every: number };
  'ping': { mode?: 'paper' | 'live' | null };
  'portfolio.equity_history': { mode?: 'paper' | 'live' | null; from?: number | string | null; to?: number | string | null; step?: number | null };
  'portfolio.snapshot': { mode?: 'paper' | 'live' | null; symbols?: Array<string> | null };
  'position.close': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; position_id: string; amount?: string | null; fraction?: number | null; type?: 'market' | 'limit'; price?: string | null; client_order_id?: string | null };
  'position.close_all': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; symbol?: string | null; bot_id?: string | null; request_id?: string | null };
  'position.get': { mode?: 'paper' | 'live' | null; position_id: string };
  'position.list': { mode?: 'paper' | 'live' | null; symbols?: Array<string> | null; position_type?: 'spot' | 'margin' | 'swap' | null };
  'position.set_cost_basis': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; position_id: string; entry_price: string };
  'position.value': { mode?: 'paper' | 'live' | null; symbol: string; amount: string };
  'risk.assessment': { mode?: 'paper' | 'live' | null };
  'risk.daily_pnl': { mode?: 'paper' | 'live' | null; day?: string | null };
  'risk.params.get': { mode?: 'paper' | 'live' | null };
  'risk.params.set': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; patch: Record<string, unknown>; version?: number | null };
  'risk.reset_daily': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; reason: string; request_id?: string | null };
  'risk.validate_order': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; symbol: string; side: Side; type: OrderType; amount?: string | null; cost?: string | null; price?: string | null; stop_price?: string | null; trailing_amount?: string | null; trailing_rate?: string | null; trailing_fraction?: string | null; trigger_by?: TriggerBy | null; time_in_force?: 'GTC' | 'IOC' | 'FOK' | 'PO' | 'GTD'; good_till_ts?: number | string | null; post_only?: boolean; reduce_only?: boolean; position_type?: 'spot' | 'margin' | 'swap' | null; leverage?: string | null; stop_loss?: string | TriggerParams | null; take_profit?: string | TriggerParams | null; protection?: 'native' | null; client_order_id?: string | null; allow_duplicate?: boolean; bot_id?: string | null; strategy_id?: string | null };
  'subscribe': { mode?: 'paper' | 'live' | null; channels: Array<string | ChannelParams> };
  'system.fault': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; faults?: Array<FaultPart> | null };
  'system.health': { mode?: 'paper' | 'live' | null };
  'system.status': { mode?: 'paper' | 'live' | null };
  'trading.halt': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; dry_run?: boolean; venue?: string | null; symbol?: string | null; bot_id?: string | null; state?: 'halted' | 'reducing'; cancel?: boolean; flatten?: boolean; protection?: 'keep' | 'cancel'; reason?: string };
  'trading.resume': { mode?: 'paper' | 'live' | null; expires_at?: number | null; confirm?: string | null; venue?: string | null; symbol?: string | null; bot_id?: string | null; reason: string; force?: boolean };
  'unsubscribe': { mode?: 'paper' | 'live' | null; channels: '*' | Array<string> };
}
