/** What is announced, and why the rest is not, as the API tells it. Pure. */
import type { BgpServiceDto, ServiceAdvertisementDto } from "../../api/dto.ts";
import type { DesiredAddress } from "../../compute/services/advertise.ts";

export interface AdvertisedAddress {
  readonly desired: DesiredAddress;
  readonly state: BgpServiceDto["state"];
  readonly why: string;
}

export function advertisedDto({ desired, state, why }: AdvertisedAddress): BgpServiceDto {
  const { address, kind, services, path } = desired;
  const { communities = [], localPref = null, prepend = 0 } = path ?? {};
  return { address: address.text, type: kind, services, state, why, communities, localPref, prepend };
}

/** @param key "namespace/name" of the service that these rows are of */
export function withAdvertising(
  key: string,
  rows: readonly ServiceAdvertisementDto[],
  advertised: readonly AdvertisedAddress[],
): readonly ServiceAdvertisementDto[] {
  return rows.map((row) => {
    const own = advertised.find(
      ({ desired }) => desired.address.text === row.address && desired.services.includes(key),
    );
    return own === undefined ? row : { ...row, advertising: { state: own.state, why: own.why } };
  });
}
