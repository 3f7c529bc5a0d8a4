/**
 * What a payload is made of.
 *
 * @module
 */

/** A value that JSON can hold. A payload is an object or an array. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };
