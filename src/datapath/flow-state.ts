/** In which state a flow is by what was seen of it (enum ct_flags), in the words of reports. */
import { CtFlags } from "../native/layouts.gen.ts";

/** Protocol numbers of IANA. */
const tcp = 6;

export function stateOf(flags: number, protocol: number): string {
  const has = (flag: number) => (flags & flag) !== 0;
  if (has(CtFlags.service)) return "service";
  if (protocol === tcp) {
    if (isEnding(flags)) return "closing";
    return has(CtFlags.established) ? "established" : "opening";
  }
  return has(CtFlags.replied) ? "replied" : "unreplied";
}

/** Both ends of a TCP flow are done, or one gave it up. */
export function isEnding(flags: number): boolean {
  const fins = CtFlags.finInitiator | CtFlags.finResponder;
  return (flags & CtFlags.rst) !== 0 || (flags & fins) === fins;
}
