/** What the page itself passes around, by names that every module knows: messages as it uses them, changes, channels. Decimals are strings. */

type App = import("./app.js").App;
type Store = import("./store.js").Store;
/** By the registry: an unknown op or field fails the type check. */
type Arguments = import("./types.d.ts").Arguments;

type Dec = string;
type Row = Record<string, any>;
type Level = [price: Dec, amount: Dec];
type Position = { epoch: string; seq: number };

type ErrorBody = {
  code: string;
  message: string;
  outcome: "not_done" | "unknown";
  retry_after?: number;
  details?: Row;
};

type Reply = {
  type: "reply";
  id?: string | number;
  op?: string;
  ok: boolean;
  ts: number;
  result?: any;
  error?: ErrorBody;
  at?: Record<string, Position>;
};

type Welcome = {
  type: "welcome";
  v: number;
  server: string;
  session: string;
  ts: number;
  mode: "paper" | "live";
  trading_state: string | null;
  venues: { id: string; status: string }[];
  auth: "ok" | "optional" | "required";
  subject: string | null;
  role: string | null;
  scopes: string[] | null;
  heartbeat: number;
  reconnect: { first: number; max: number };
};

type Data = {
  type: "snapshot" | "update";
  channel: string;
  epoch?: string;
  seq: number;
  ts: number;
  asof?: number;
  reason?: string;
  lost?: number;
  checksum?: number;
  data: any;
};

type Notice = { type: "notice"; event: string; ts: number; channels?: string[]; data: Row };
type Heartbeat = { type: "heartbeat"; ts: number; asof: Record<string, number> };
type Message = Welcome | Reply | Data | Notice | Heartbeat;

/** One entry of a subscribe reply. */
type Info = {
  channel: string;
  class: "value" | "table" | "log";
  key?: string;
  epoch: string;
  seq?: number;
  resumed: boolean;
  stale: boolean;
  asof?: number;
};

/** What the worker tells the page about one channel since the last batch. */
type Change = Position & {
  name: string;
  class: "value" | "table" | "log";
  asof?: number;
  value?: any;
  book?: { bids: Level[]; asks: Level[] };
  rows?: { replace: boolean; set: [string, Row][]; del: string[] };
  entries?: { replace: boolean; list: Row[]; lost: number };
};

type FromWorker =
  | { t: "batch"; changes: Change[] }
  | { t: "message"; message: Welcome | Reply | Notice | Heartbeat }
  | { t: "link"; state: "connecting" | "open" | "closed" | "stopped"; code?: number; reason?: string }
  | { t: "latency"; ms: number; offset: number }
  | { t: "alive" };

type ToWorker =
  | { t: "open"; url: string }
  | { t: "watch" | "drop"; names: string[] }
  | { t: "send"; frame: Row }
  | { t: "pace"; every: number }
  | { t: "ready" | "again" };

/** A channel as the store keeps it. */
type Entry = {
  class: "value" | "table" | "log";
  value?: any;
  rows?: Map<string, Row>;
  list?: Row[];
  book?: { bids: Level[]; asks: Level[] };
  position?: Position;
  asof?: number;
  stale?: boolean;
  staleSince?: number;
  cause?: string;
  error?: ErrorBody;
};

type Market = {
  symbol: string;
  base: string;
  quote: string;
  settle?: string | null;
  type: string;
  active: boolean;
  price_tick: Dec;
  amount_step: Dec;
  contract_size?: Dec;
  min_amount?: Dec | null;
  min_cost?: Dec | null;
  max_amount?: Dec | null;
  max_leverage?: Dec | number;
  groups?: Dec[];
};

type LinkState = {
  state: "connecting" | "live" | "late" | "lost" | "stopped";
  /** Page clock, ms, of the last frame. */
  heard: number;
  code?: number;
  reason?: string;
  latency?: number;
  offset?: number;
};

// --- the chart: chart.js, or plain-chart.js without the library; times in s ---

type Bar = { time: number; open: number; high: number; low: number; close: number; volume: number };
/** A dot is a signal, not a fill. */
type Mark = { time: number; side: "buy" | "sell"; dot?: boolean };
type Line = {
  id: string;
  price: number;
  title: string;
  tone: string;
  look: "solid" | "dashed" | "dotted";
};
type Point = { time: number; value: number };
type Curve = { id: string; tone: "accent" | "warn"; points: Point[] };
type Colours = Record<"up" | "down" | "text" | "grid" | "accent" | "warn" | "dim", string>;

type Chart = {
  setBars: (bars: Bar[], keep: boolean) => void;
  update: (bar: Bar) => void;
  setMarks: (marks: Mark[]) => void;
  /** To be asked for once, as `lines`: what draws them is loaded then. */
  curves: () => Promise<Curves>;
  /** Shows prices, all of them; what is left out goes. */
  lines: () => Promise<(lines: Line[]) => void>;
  /** What lies under the candles. */
  setLayers: (paint: import("./layers.js").Paint) => void;
  setVolume: (shown: boolean) => void;
  /** Pixels from the top; null while there is no scale. */
  yOf: (price: number) => number | null;
  priceAt: (y: number) => number | null;
  /** Width of the price axis. */
  axis: () => number;
  /** After each drawing: what lies over the chart moves with it. */
  onDraw: (tell: () => void) => void;
  style: (colours: Colours, digits: number, utc: boolean) => void;
  onHover: (tell: (bar: Bar | null) => void) => void;
  onLeftEdge: (tell: () => void) => void;
};

type Curves = {
  /** All of them; what is left out goes. */
  set: (curves: Curve[]) => void;
  /** A curve's newest point, new or changed. */
  extend: (id: string, point: Point) => void;
};
