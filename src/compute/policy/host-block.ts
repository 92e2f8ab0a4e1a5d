/** Blocks of single addresses, each made once: there may be one for every pod. */
import { type Address, makePrefix } from "../../model/ip.ts";
import type { Block } from "./rules.ts";

const hostBlocks = { inside: new WeakMap<Address, Block>(), outside: new WeakMap<Address, Block>() };

/** Of one address object always the same object. */
export function hostBlock(address: Address, outsideOnly: boolean): Block {
  const blocks = outsideOnly ? hostBlocks.outside : hostBlocks.inside;
  const known = blocks.get(address);
  if (known !== undefined) return known;
  const block: Block = { prefix: makePrefix(address, address.bytes.length * 8), except: [], outsideOnly };
  blocks.set(address, block);
  return block;
}
