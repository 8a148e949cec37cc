"""The channels of a receiver, made from its settings."""

from collections.abc import Iterator, Mapping

from bongsu.channels.base import Channel
from bongsu.channels.http import HttpClient
from bongsu.channels.sms_http import SmsGateway, SmsHttpChannel, read_token
from bongsu.channels.webhook import WebhookChannel
from bongsu.receiver.config import Config, SmsConfig


class Channels(Mapping[str, Channel]):
    """Channels by name: "webhook", and "sms" if a gateway is configured. They share one HTTP client."""

    def __init__(self, config: Config) -> None:
        """Raises SmsConfigError."""
        sms = sms_gateway(config, config.sms) if config.sms is not None else None
        self._client = HttpClient(timeout_s=config.dispatch.request_timeout_s)
        self._by_name: dict[str, Channel] = {"webhook": WebhookChannel(self._client)}
        if sms is not None:
            self._by_name["sms"] = SmsHttpChannel(self._client, sms)

    def __getitem__(self, name: str) -> Channel:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    async def aclose(self) -> None:
        """Close all connections; what is under way ends as a retry."""
        await self._client.aclose()


def sms_gateway(config: Config, sms: SmsConfig) -> SmsGateway:
    """The gateway of the section [sms], its token read. Raises SmsConfigError."""
    return SmsGateway(
        url=sms.url,
        status_url=sms.status_url,
        method=sms.method,
        format=sms.format,
        headers=sms.headers,
        token=read_token(config.path(sms.token_file)) if sms.token_file is not None else None,
        body=sms.body,
        ref_field=sms.ref_field,
        status_field=sms.status_field,
        delivered_values=tuple(v.lower() for v in sms.delivered_values),
        failed_values=tuple(v.lower() for v in sms.failed_values),
    )
