// The token: from the launch environment, kept in the keychain for launches by hand.

import Foundation
import RunnerCore
import Security

enum TokenKeeper {
    private static var query: [String: Any] {
        [
            kSecClass as String: kSecClassGenericPassword,
            kSecAttrService as String: "evalkit-runner",
            kSecAttrAccount as String: "token",
        ]
    }

    /// The environment's token, which is kept, or the one that was kept.
    static func token() -> String? {
        if let given = ProcessInfo.processInfo.environment[RunnerProtocol.tokenVariable],
            (try? Server.Options(token: given)) != nil
        {
            try? keep(given)
            return given
        }
        var wanted = query
        wanted[kSecReturnData as String] = true
        var found: CFTypeRef?
        guard SecItemCopyMatching(wanted as CFDictionary, &found) == errSecSuccess,
            let data = found as? Data
        else { return nil }
        return String(data: data, encoding: .utf8)
    }

    /// Keeps a token. Fails where it is none, or the keychain refuses.
    static func keep(_ token: String) throws {
        _ = try Server.Options(token: token)
        SecItemDelete(query as CFDictionary)
        var item = query
        item[kSecValueData as String] = Data(token.utf8)
        item[kSecAttrAccessible as String] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
        let status = SecItemAdd(item as CFDictionary, nil)
        guard status == errSecSuccess else { throw Failure(.io, "keychain status \(status)") }
    }
}
