"""Bybit's REST endpoints under `/v5/`: one table, one way to answer.

Rules of this file:
1 Every answer has status 200 and `retCode`, as the exchange's; an unknown path has 404.
2 A private request is counted, then its signature is checked, then it is read.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from realtime.emulate.bybit import rows
from realtime.emulate.bybit.board import Board
from realtime.emulate.bybit.codes import PARAMS, PATH, TOO_MANY, Refusal, wrong
from realtime.emulate.bybit.params import Params, count, needed, stamp, text
from realtime.emulate.bybit.rows import Row, plain
from realtime.emulate.bybit.signing import authenticate
from realtime.emulate.bybit.trading import Trading
from realtime.emulate.faults import Answer, Fault, Kind, reply
from realtime.emulate.floor import Customer, Floor
from realtime.engine.bars import TIMEFRAMES
from realtime.model.market import MS, SECOND, Market


LIMITS: Final = {
    "/v5/order/create": 20,
    "/v5/order/amend": 20,
    "/v5/order/cancel": 20,
    "/v5/order/cancel-all": 20,
}
"""Requests a second of one key; 50 elsewhere."""
ELSEWHERE: Final = 50
BODY: Final = 65_536
"""Bytes of a request that are read at most; a longer one is no order, and its signature is wrong."""

Public = Callable[[Params], Row | Awaitable[Row]]
Private = Callable[[str, Params], Row]


class Meter:
    """Counts requests of a key and path in each second, for the headers that tell of the limit.

    Args:
        enforced: Whether too many are refused, or only counted.
    """

    def __init__(self, *, enforced: bool) -> None:
        self._enforced = enforced
        self._second = 0
        self._counts: dict[tuple[str, str], int] = {}

    def take(self, key: str, path: str, now: int) -> dict[str, str]:
        """Count one request at a time [ns]; returns the headers.

        Raises:
            Refusal: 10006, where the limit is enforced.
        """
        second = now // SECOND
        if second != self._second:
            self._second = second
            self._counts.clear()
        limit = LIMITS.get(path, ELSEWHERE)
        used = self._counts.get((key, path), 0) + 1
        self._counts[key, path] = used
        if used > limit and self._enforced:
            raise Refusal(TOO_MANY, "Too many visits. Exceeded the API Rate Limit.")
        return {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(max(limit - used, 0)),
            "X-Bapi-Limit-Reset-Timestamp": str((second + 1) * 1000),
        }


class Rest:
    """The REST side, an ASGI application of its own.

    Args:
        floor: Customers, markets, bars and trades.
        trading: Accounts.
        board: Tickers and order books.
        meter: Counts.
    """

    def __init__(self, floor: Floor, trading: Trading, board: Board, meter: Meter) -> None:
        self._floor = floor
        self._trading = trading
        self._board = board
        self._meter = meter
        self._public: dict[tuple[str, str], Public] = {
            ("GET", "/v5/market/time"): self._time,
            ("GET", "/v5/market/instruments-info"): self._instruments,
            ("GET", "/v5/market/tickers"): self._tickers,
            ("GET", "/v5/market/orderbook"): self._orderbook,
            ("GET", "/v5/market/kline"): self._kline,
            ("GET", "/v5/market/mark-price-kline"): self._kline,
            ("GET", "/v5/market/index-price-kline"): self._kline,
            ("GET", "/v5/market/recent-trade"): self._recent,
            ("GET", "/v5/market/risk-limit"): self._risk_limit,
        }
        self._private: dict[tuple[str, str], Private] = {
            ("GET", "/v5/user/query-api"): self._query_api,
            ("GET", "/v5/account/info"): self._info,
            ("GET", "/v5/account/wallet-balance"): self._wallet,
            ("GET", "/v5/account/fee-rate"): self._fee_rate,
            ("POST", "/v5/account/set-margin-mode"): trading.set_margin_mode,
            ("GET", "/v5/asset/coin/query-info"): self._coins,
            ("GET", "/v5/position/list"): trading.statements.positions,
            ("POST", "/v5/position/set-leverage"): trading.set_leverage,
            ("POST", "/v5/position/switch-mode"): trading.switch_mode,
            ("POST", "/v5/position/trading-stop"): trading.trading_stop,
            ("POST", "/v5/order/create"): trading.create,
            ("POST", "/v5/order/amend"): trading.amend,
            ("POST", "/v5/order/cancel"): trading.cancel,
            ("POST", "/v5/order/cancel-all"): trading.cancel_all,
            ("GET", "/v5/order/realtime"): trading.statements.realtime,
            ("GET", "/v5/order/history"): trading.statements.history,
            ("GET", "/v5/execution/list"): trading.statements.executions,
        }

    def now_ms(self) -> int:
        """The exchange's time, wrong where a script says so."""
        return self._floor.now() // MS + self._floor.faults.clock_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False) and len(body) <= BODY
        await reply(send, await self._answer(scope, body))

    async def _answer(self, scope: Scope, body: bytes) -> Answer:
        method, path = scope["method"], scope["path"]
        headers: dict[str, str] = {}
        try:
            public = self._public.get((method, path))
            if public is not None:
                result = public(dict(parse_qsl(scope["query_string"].decode("latin-1"))))
                if isinstance(result, Awaitable):
                    result = await result
                return self.answer(0, "OK", result, headers)
            private = self._private.get((method, path))
            if private is None:
                return self.answer(
                    PATH, "request path not found or request method is invalid", {}, headers, 404
                )
            given = {
                key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
            }
            headers = self._meter.take(given.get("x-bapi-api-key", ""), path, self._floor.now())
            query = scope["query_string"].decode("latin-1")
            payload = body.decode("utf-8", "replace") if method == "POST" else query
            customer = self._known(given, payload)
            params: Params
            if method == "POST":
                params = read_json(body)
            else:
                params = dict(parse_qsl(query, keep_blank_values=True))
            return self.answer(0, "OK", private(customer.account, params), headers)
        except Refusal as error:
            return self.answer(error.code, error.message, {}, headers)

    def _known(self, headers: Mapping[str, str], payload: str) -> Customer:
        floor = self._floor
        return authenticate(floor.customers, floor.faults, headers, payload, self.now_ms())

    def answer(
        self, code: int, message: str, result: Row, headers: Mapping[str, str], status: int = 200
    ) -> Answer:
        """An answer in the exchange's form."""
        now = self.now_ms()
        body = orjson.dumps(
            {
                "retCode": code,
                "retMsg": message,
                "result": result,
                "retExtInfo": {},
                "time": now,
            }
        )
        sent = [
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"timenow", b"%d" % now),
        ]
        sent += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return status, sent, body

    def in_code(self, _scope: Scope, fault: Fault) -> Answer:
        """How this exchange says a code that a script asks for."""
        if fault.kind is Kind.RATE_LIMITED:
            message = fault.message or "Too many visits. Exceeded the API Rate Limit."
            return self.answer(
                int(fault.code or TOO_MANY), message, {}, {}, 200 if fault.code else 429
            )
        return self.answer(int(fault.code), fault.message or "scripted", {}, {})

    # --- market -------------------------------------------------------------------------------

    def _asked(self, params: Params) -> tuple[str, list[Market]]:
        """The category that is asked about, and the one market of it that is named, else all."""
        category, name = needed(params, "category"), text(params, "symbol")
        statements = self._trading.statements
        if name:
            return category, [statements.market(category, name)]
        return category, statements.markets(category)

    def _time(self, _params: Params) -> Row:
        now = self.now_ms()
        return {"timeSecond": str(now // 1000), "timeNano": str(now * MS)}

    def _instruments(self, params: Params) -> Row:
        category, found = self._asked(params)
        if text(params, "status") not in {"", "Trading"}:
            found = []
        base = text(params, "baseCoin")
        listed = [rows.instrument(each) for each in found if base in {"", each.base}]
        result: Row = {"category": category, "list": listed}
        if category != "spot":
            result["nextPageCursor"] = ""
        return result

    def _tickers(self, params: Params) -> Row:
        category, found = self._asked(params)
        return {
            "category": category,
            "list": [row for row in map(self._board.ticker, found) if row is not None],
        }

    def _orderbook(self, params: Params) -> Row:
        category = needed(params, "category")
        market = self._trading.statements.market(category, needed(params, "symbol"))
        spot = category == "spot"
        limit = count(params, "limit", 1 if spot else 25, 200 if spot else 500)
        return self._board.book(market, limit)

    async def _kline(self, params: Params) -> Row:
        category = text(params, "category") or "linear"
        market = self._trading.statements.market(category, needed(params, "symbol"))
        timeframe = rows.INTERVALS.get(needed(params, "interval"))
        if timeframe is None:
            raise wrong("Invalid period!")
        limit = count(params, "limit", 200, 1000)
        start, end = stamp(params, "start"), stamp(params, "end")
        length = TIMEFRAMES[timeframe]
        since = None if start is None else start * MS
        if since is None and end is not None:
            since = max(end * MS - (limit - 1) * length, 0)
        bars = await self._floor.bars(market.symbol, timeframe, since, limit)
        listed = [rows.kline(bar) for bar in bars if end is None or bar.ts <= end * MS]
        return {"category": category, "symbol": rows.id_of(market), "list": listed[::-1]}

    async def _recent(self, params: Params) -> Row:
        category = needed(params, "category")
        market = self._trading.statements.market(category, needed(params, "symbol"))
        spot = category == "spot"
        limit = count(params, "limit", 60 if spot else 500, 60 if spot else 1000)
        trades = await self._floor.trades(market.symbol, limit)
        listed = [rows.recent_trade(trade, category, market) for trade in reversed(trades)]
        return {"category": category, "list": listed}

    def _risk_limit(self, params: Params) -> Row:
        category, found = self._asked(params)
        listed = [
            {
                "id": place + 1,
                "symbol": rows.id_of(market),
                "riskLimitValue": "2000000",
                "maintenanceMargin": plain(market.maintenance_margin),
                "initialMargin": plain(1 / market.max_leverage),
                "isLowestRisk": 1,
                "maxLeverage": plain(market.max_leverage),
                "mmDeduction": "",
            }
            for place, market in enumerate(found)
        ]
        return {"category": category, "list": listed, "nextPageCursor": ""}

    # --- account ------------------------------------------------------------------------------

    def _query_api(self, account: str, _params: Params) -> Row:
        customer = next(
            customer for customer in self._floor.customers.values() if customer.account == account
        )
        return {
            "id": "1",
            "note": "emulated",
            "apiKey": customer.key,
            "readOnly": 0,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"],
                "Spot": ["SpotTrade"],
                "Wallet": ["AccountTransfer", "Withdraw"] if customer.withdraws else [],
                "Options": [],
                "Derivatives": ["DerivativesTrade"],
                "CopyTrading": [],
                "BlockTrade": [],
                "Exchange": [],
                "NFT": [],
                "Affiliate": [],
                "Earn": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": -2,
            "expiredAt": "2100-01-01T00:00:00Z",
            "createdAt": "2024-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_DEFAULT",
            "kycRegion": "",
        }

    def _info(self, account: str, _params: Params) -> Row:
        return {
            "unifiedMarginStatus": 6,
            "marginMode": self._trading.margin_mode(account),
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
            "updatedTime": str(self.now_ms()),
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
        }

    def _wallet(self, account: str, params: Params) -> Row:
        if text(params, "accountType") not in {"", "UNIFIED"}:
            raise Refusal(PARAMS, "accountType only support UNIFIED.")
        named = text(params, "coin")
        only = set(named.split(",")) if named else None
        return {"list": [self._trading.statements.wallet(account, only)]}

    def _fee_rate(self, _account: str, params: Params) -> Row:
        category, found = self._asked(params)
        return {
            "category": category if category != "spot" else "",
            "list": [
                {
                    "symbol": rows.id_of(market),
                    "baseCoin": "",
                    "takerFeeRate": plain(market.taker),
                    "makerFeeRate": plain(market.maker),
                }
                for market in found
            ],
        }

    def _coins(self, _account: str, params: Params) -> Row:
        named = text(params, "coin")
        markets = self._floor.markets.values()
        coins = dict.fromkeys(coin for market in markets for coin in (market.quote, market.base))
        return {
            "rows": [
                {
                    "name": coin,
                    "coin": coin,
                    "remainAmount": "0",
                    "chains": [
                        {
                            "chainType": coin,
                            "confirmation": "1",
                            "withdrawFee": "",
                            "depositMin": "0",
                            "withdrawMin": "0",
                            "chain": coin,
                            "chainDeposit": "0",
                            "chainWithdraw": "0",
                            "minAccuracy": "8",
                            "withdrawPercentageFee": "0",
                            "contractAddress": "",
                            "safeConfirmNumber": "1",
                        }
                    ],
                }
                for coin in coins
                if named in {"", coin}
            ]
        }


def read_json(body: bytes) -> Params:
    """The object of a POST.

    Raises:
        Refusal: 10001, it is none.
    """
    try:
        found = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        raise wrong("Request parameter error.") from None
    if not isinstance(found, dict):
        raise wrong("Request parameter error.")
    return found
